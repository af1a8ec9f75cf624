// The mosaic of channels. maps.py describes `props.value`.
const tiles = element.querySelector(".tiles"), heading = element.querySelector("h2"), caption = element.querySelector(".caption"), legend = element.querySelector(".note");
const GAP = 6, FOOT = 7; // pixels between tiles, and below a tile for the bar
let round = 0;

function tile(index) {
  const button = make("button", { type: "button", className: "tile" },
    make("canvas", { width: 1, height: 1 }), make("span", { className: "number", textContent: index + 1 }), make("i"));
  button.onclick = async () => {
    trigger("select", { index });
    const strip = await residae.find(`#mixer .strip:nth-child(${index + 1})`, "lab");
    document.dispatchEvent(new CustomEvent("residae-channel", { detail: index }));
    strip?.scrollIntoView({ block: "nearest" });
    const look = await residae.find(`#mixer .strips:not([inert]) .strip:nth-child(${index + 1}) button`); // it may take a moment
    if (document.activeElement === document.body) look?.focus({ preventScroll: true }); // the tile is in a tab that is closed now
  };
  return button;
}

function arrange() {
  // In the number of columns at which tiles are largest, or nearly so in full rows: the box keeps its size, whatever shape the picture has
  const [count, height, width] = props.value?.shape || [16, 2, 3], box = tiles.getBoundingClientRect();
  let best = [1, 0];
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (box.width - GAP * (columns - 1)) / columns, down = (box.height - GAP * (rows - 1)) / rows - FOOT;
    const size = Math.min(across, down * width / height), empty = columns * rows - count;
    if (size > (empty ? 1.1 : 0.999) * best[1]) best = [columns, size];
  }
  // By a translation, which is no layout shift where the next picture has another shape; in whole pixels, or numbers would blur
  const [columns, size] = best, wide = columns * (size + GAP) - GAP, isFilled = wide > 0.85 * box.width && columns > 1;
  const step = isFilled ? (box.width - size) / (columns - 1) : size + GAP, left = isFilled ? 0 : (box.width - wide) / 2; // in the middle, where the height is the limit
  tiles.style.setProperty("--tile-width", `${size}px`);
  tiles.style.setProperty("--tile-height", `${size * height / width}px`);
  [...tiles.children].forEach(({ style }, i) => {
    const x = left + step * (i % columns), y = (size * height / width + FOOT + GAP) * Math.floor(i / columns);
    style.translate = `${Math.floor(x)}px ${Math.floor(y)}px`;
  });
  document.body.style.setProperty("--channel-shape", width / height); // also of the mixer's strips, before their pictures are there
}

async function draw() {
  const { picture, shape: [count, height, width], shares } = props.value || { shape: [16, 2, 3] };
  if (tiles.childElementCount !== count) tiles.replaceChildren(...Array.from({ length: count }, (_, i) => tile(i)));
  arrange();
  [...tiles.children].forEach((button) => { button.disabled = !picture; });
  if (!picture) return;
  const current = ++round, image = Object.assign(new Image(), { src: picture.url });
  await outdated(tiles, image.decode());
  if (current !== round) return; // newer channels are loading
  heading.textContent = `${count} ${count === 1 ? "channel" : "channels"}`;
  caption.textContent = `${count} × ${height} × ${width} numbers`;
  const bars = shares ? ["Bars: ", make("span", { className: "wide", textContent: "share of " }), "bits. "] : [];
  legend.replaceChildren(...bars, `${byFinger() ? "Tap" : "Press"} a channel to edit it.`);
  tiles.toggleAttribute("data-unshared", !shares);
  const rows = image.naturalHeight / count;
  [...tiles.children].forEach((button, i) => {
    const canvas = Object.assign(button.firstChild, { width: image.naturalWidth, height: rows });
    canvas.getContext("2d").drawImage(image, 0, -i * rows);
    const share = shares ? `, ${percent(shares[i])} of the bits` : "";
    button.ariaLabel = button.title = `Channel ${i + 1}${share}`;
    button.style.setProperty("--share", shares ? shares[i] / Math.max(...shares) : 0);
  });
}

new ResizeObserver(arrange).observe(tiles);
watch("value", draw);
draw();

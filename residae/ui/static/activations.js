// A few channels of what a stage returns. tabs/model.py describes `props.value`.
const [heading, caption, note, tiles] = ["h2", ".caption", ".note", ".tiles"].map((part) => element.querySelector(part));
const nothing = { title: heading.textContent, caption: "", sentence: note.textContent, tiles: [], size: [3, 2] };
let round = 0;
async function draw() {
  const shown = props.value || nothing, current = ++round;
  const images = shown.tiles.map(({ picture, alt }) => make("img", { src: picture.url, alt }));
  await Promise.allSettled(images.map((image) => image.decode()));
  if (current !== round) return; // another stage was pressed
  heading.textContent = shown.title;
  caption.textContent = shown.caption;
  note.textContent = shown.sentence;
  tiles.classList.toggle("plain", images.length === 1);
  tiles.style.setProperty("--shape", shown.size.join(" / "));
  const figures = images.map((image, i) => make("figure", {}, image, make("figcaption", { textContent: shown.tiles[i].name })));
  tiles.replaceChildren(...figures.length ? figures : Array.from({ length: 8 }, () => make("figure", { className: "empty" })));
}
watch("value", draw);
draw();

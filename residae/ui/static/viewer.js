// The light table: pictures of one size under one zoom. viewer.py describes `props.value`.
const $ = (selector) => element.querySelector(selector);
const stage = $(".stage"), bar = $(".views"), maps = $(".maps"), readout = $(".readout"), key = $(".key");
const fitButton = $(".fit"), oneButton = $(".one");
const view = { index: 0, signed: false, zoom: null, x: 0.5, y: 0.5, divide: 0.5 }; // zoom: CSS pixels per pixel; null fits
let frames = [], loading = 0;
const canvases = new Map(); // url -> its pixels, for the readout

const value = () => props.value || { panes: [], views: [], size: [3, 2], key: {} };
const sizeNow = () => value().views[view.index]?.size || value().size;
const address = (pane) => (view.signed && pane.signed ? pane.signed : pane.picture).url;

function pressed(buttons, chosen) {
  [...buttons.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
}

function columns(count) {
  // The number that makes the pictures largest; empty places count against it
  const [width, height] = sizeNow(), box = stage.getBoundingClientRect();
  let best = 1, largest = 0;
  for (let n = 1; n <= count; n++) {
    const rows = Math.ceil(count / n), filled = count / (n * rows);
    const area = Math.min(box.width / n / width, (box.height / rows - 22) / height) * filled ** 0.5;
    if (area > largest) [best, largest] = [n, area];
  }
  return best;
}

function image(pane, hidden) {
  const node = make("img", { alt: hidden ? "" : pane.alt, draggable: false, src: address(pane) });
  node.onload = place;
  node.dataset.pane = pane.name;
  return node;
}

function build() {
  const { panes, views, key: keys } = value();
  element.classList.toggle("empty", !panes.length);
  if (view.index >= views.length) view.index = 0;
  bar.replaceChildren(...(views.length > 1 ? views : []).map((v, i) =>
    make("button", { type: "button", textContent: v.name, onclick: () => { view.index = i; Object.assign(view, v.size ? { zoom: null } : {}); build(); } })));
  pressed(bar, view.index);
  const current = views[view.index];
  if (!current) {
    stage.replaceChildren(make("p", { className: "invitation", textContent: stage.dataset.invitation }));
    stage.style.gridTemplateColumns = stage.dataset.layout = "";
    return;
  }
  const shown = current.panes.map((i) => panes[i]);
  maps.hidden = !shown.some((pane) => pane.signed);
  pressed(maps, Number(view.signed));
  // A picture stays until its successor has loaded, so that no frame is ever empty.
  const layout = `${view.index} ${shown.length}`;
  if (stage.dataset.layout === layout && frames.length) return refresh(current, shown);
  stage.dataset.layout = layout;
  frames = [];
  if (current.wipe) {
    const frame = make("div", { className: "frame" }, image(shown[0]), image(shown[1]), make("div", { className: "divider" }));
    const slide = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 100 * view.divide, className: "wipe" });
    slide.setAttribute("aria-label", `Divide between ${shown[0].name} on the left and ${shown[1].name} on the right`);
    slide.oninput = () => { view.divide = slide.value / 100; place(); };
    frames.push(frame);
    const names = make("figcaption", {}, make("b", { textContent: shown[0].name }), make("b", { textContent: shown[1].name }));
    stage.replaceChildren(make("figure", {}, frame, slide, names));
    stage.style.gridTemplateColumns = "minmax(0, 1fr)";
  } else {
    stage.replaceChildren(...shown.map((pane) => {
      const frame = make("div", { className: "frame" });
      if (pane.picture) frame.append(image(pane)); else frame.append(make("p", { className: "absent", textContent: pane.alt }));
      frames.push(frame);
      return make("figure", {}, frame, make("figcaption", {}, make("b", { textContent: pane.name }), make("span", { textContent: pane.caption || "" })));
    }));
    stage.style.gridTemplateColumns = `repeat(${columns(shown.length)}, minmax(0, 1fr))`;
  }
  finish(current, keys);
}

function refresh(current, shown) {
  const round = ++loading;
  const absent = shown.map((pane) => !pane.picture).join();
  const present = [...stage.querySelectorAll("figure")].map((figure) => !figure.querySelector("img")).join();
  if (!current.wipe && absent !== present) { stage.dataset.layout = ""; return build(); }
  const images = [...stage.querySelectorAll(".frame img")];
  const panes = shown.filter((pane) => pane.picture);
  Promise.allSettled(panes.map((pane) => Object.assign(new Image(), { src: address(pane) }).decode())).then(() => {
    if (round !== loading) return; // newer pictures are loading
    images.forEach((node, i) => { if (node.getAttribute("src") !== address(panes[i])) node.src = address(panes[i]); node.alt = panes[i].alt; });
    if (!current.wipe) [...stage.querySelectorAll("figcaption")].forEach((c, i) => {
      c.firstChild.textContent = shown[i].name; c.lastChild.textContent = shown[i].caption || "";
    });
    if (!current.wipe) stage.style.gridTemplateColumns = `repeat(${columns(shown.length)}, minmax(0, 1fr))`;
    finish(current, value().key);
  });
}

function finish(current, keys) {
  key.innerHTML = current.key && keys ? keys[view.signed ? "signed" : "absolute"] || "" : "";
  place();
}

function scaleOf(frame) {
  const [width, height] = sizeNow();
  return view.zoom || Math.min(frame.clientWidth / width, frame.clientHeight / height);
}

function place() {
  const [width, height] = sizeNow();
  for (const frame of frames) {
    if (!frame.clientWidth) continue;
    const scale = scaleOf(frame), w = width * scale, h = height * scale;
    const offset = (extent, inner, at) => inner <= extent ? (extent - inner) / 2 : Math.min(0, Math.max(extent - inner, extent / 2 - at * inner));
    const left = offset(frame.clientWidth, w, view.x), top = offset(frame.clientHeight, h, view.y);
    Object.assign(frame.dataset, { left, top, scale });
    const images = frame.querySelectorAll("img");
    images.forEach((node) => Object.assign(node.style, {
      width: `${w}px`, height: `${h}px`, transform: `translate(${left}px, ${top}px)`, imageRendering: scale >= 2 ? "pixelated" : "auto",
    }));
    const divider = frame.querySelector(".divider");
    if (divider) { // over the visible part of the picture
      const from = Math.max(left, 0), to = Math.min(left + w, frame.clientWidth), x = from + view.divide * (to - from);
      images[1].style.clipPath = `inset(0 0 0 ${Math.max(0, x - left)}px)`;
      divider.style.transform = `translateX(${x}px)`;
      const slide = frame.parentElement.querySelector(".wipe");
      Object.assign(slide.style, { left: `${from - 8}px`, width: `${to - from + 16}px` });
      slide.value = 100 * view.divide;
    }
  }
  const first = frames.find((frame) => frame.clientWidth);
  if (first) $(".scale").textContent = `${Math.round(100 * scaleOf(first))} %`;
  fitButton.setAttribute("aria-pressed", String(view.zoom === null));
  oneButton.setAttribute("aria-pressed", String(view.zoom === 1));
}

function zoomTo(zoom, frame = frames[0], at = null) {
  // keep the point under the pointer where it is
  if (!frame) return;
  const [width, height] = sizeNow(), before = scaleOf(frame);
  if (zoom !== null) zoom = Math.min(16, Math.max(0.05, zoom));
  if (zoom !== null && at) {
    const px = (at.x - frame.dataset.left) / before, py = (at.y - frame.dataset.top) / before;
    view.x = (px + (frame.clientWidth / 2 - at.x) / zoom) / width;
    view.y = (py + (frame.clientHeight / 2 - at.y) / zoom) / height;
  }
  view.zoom = zoom;
  clamp();
  place();
}

function clamp() {
  view.x = Math.min(1, Math.max(0, view.x));
  view.y = Math.min(1, Math.max(0, view.y));
}

function pan(dx, dy) {
  const [width, height] = sizeNow(), scale = scaleOf(frames[0]);
  view.x += dx / (width * scale);
  view.y += dy / (height * scale);
  clamp();
  place();
}

const within = (event, frame) => {
  const box = frame.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};

// Values under the pointer

async function pixelsOf(url) {
  if (!canvases.has(url)) {
    if (canvases.size > 8) canvases.delete(canvases.keys().next().value);
    canvases.set(url, (async () => {
      const picture = Object.assign(new Image(), { src: url });
      await picture.decode();
      const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      return context;
    })());
  }
  return canvases.get(url);
}

async function read(event, frame) {
  const at = within(event, frame), [width, height] = sizeNow(), { left, top, scale } = frame.dataset;
  const x = Math.floor((at.x - left) / scale), y = Math.floor((at.y - top) / scale);
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const measured = value().panes.filter((pane) => pane.measured && pane.picture);
  const samples = await Promise.all(measured.map(async (pane) => {
    const context = await pixelsOf(pane.picture.url);
    const u = Math.floor(x * context.canvas.width / width), v = Math.floor(y * context.canvas.height / height);
    return [...context.getImageData(u, v, 1, 1).data].slice(0, 3);
  }));
  const gray = samples.every(([r, g, b]) => r === g && g === b);
  let text = samples.map((s) => gray ? s[0] : s.join(" ")).join(" → ");
  if (samples.length === 2) {
    const [a, b] = samples, off = Math.sqrt(a.reduce((sum, _, c) => sum + (b[c] - a[c]) ** 2, 0) / 3);
    text += `, error ${gray ? String(b[0] - a[0]).replace("-", "\u2212") : off.toFixed(1)}`;
  }
  readout.textContent = `${x}, ${y}: ${text}`;
  readout.title = `x, y: ${measured.map((pane) => pane.name).join(" → ")}, in gray levels`;
}

let drag = null, pinch = new Map();
stage.addEventListener("pointerdown", (event) => {
  const frame = event.target.closest(".frame");
  if (!frame) return;
  pinch.set(event.pointerId, event);
  read(event, frame);
  drag = { x: event.clientX, y: event.clientY, frame };
  if (view.zoom !== null) { stage.setPointerCapture(event.pointerId); event.preventDefault(); }
});
stage.addEventListener("pointermove", (event) => {
  if (pinch.size === 2 && pinch.has(event.pointerId)) {
    const spread = () => { const [a, b] = [...pinch.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
    const before = spread();
    pinch.set(event.pointerId, event);
    zoomTo(scaleOf(drag.frame) * spread() / before, drag.frame, within(event, drag.frame));
  } else if (drag && event.buttons && view.zoom !== null) {
    pan(drag.x - event.clientX, drag.y - event.clientY);
    Object.assign(drag, { x: event.clientX, y: event.clientY });
  } else {
    const frame = event.target.closest(".frame") || event.target.closest("figure")?.querySelector(".frame");
    if (frame) read(event, frame);
  }
});
const released = (event) => { pinch.delete(event.pointerId); drag = null; };
stage.addEventListener("pointerup", released);
stage.addEventListener("pointercancel", released);
stage.addEventListener("dblclick", (event) => {
  const frame = event.target.closest(".frame") || event.target.closest("figure")?.querySelector(".frame");
  if (frame) zoomTo(view.zoom === null ? 1 : null, frame, within(event, frame));
});
stage.addEventListener("wheel", (event) => {
  const frame = event.target.closest(".frame") || event.target.closest("figure")?.querySelector(".frame");
  if (!frame || !(event.ctrlKey || event.metaKey)) return; // a plain wheel scrolls the page
  event.preventDefault();
  zoomTo(scaleOf(frame) * Math.exp(-event.deltaY / 200), frame, within(event, frame));
}, { passive: false });
stage.addEventListener("keydown", (event) => {
  if (event.target !== stage || event.ctrlKey || event.metaKey || event.altKey) return;
  const moves = { ArrowLeft: [-40, 0], ArrowRight: [40, 0], ArrowUp: [0, -40], ArrowDown: [0, 40] };
  if (moves[event.key]) pan(...moves[event.key]);
  else if (event.key === "+" || event.key === "=") zoomTo(scaleOf(frames[0]) * 1.25);
  else if (event.key === "-") zoomTo(scaleOf(frames[0]) / 1.25);
  else if (event.key === "0") zoomTo(null);
  else if (event.key === "1") zoomTo(1);
  else return;
  event.preventDefault();
});
fitButton.onclick = () => zoomTo(null);
oneButton.onclick = () => zoomTo(1);
$(".closer").onclick = () => zoomTo(scaleOf(frames[0]) * 1.25);
$(".farther").onclick = () => zoomTo(scaleOf(frames[0]) / 1.25);
[...maps.children].forEach((button, i) => { button.onclick = () => { view.signed = Boolean(i); build(); }; });
new ResizeObserver(() => {
  const count = stage.querySelectorAll("figure").length;
  if (count > 1) stage.style.gridTemplateColumns = `repeat(${columns(count)}, minmax(0, 1fr))`;
  place();
}).observe(stage);
let size = "";
watch("value", () => {
  const next = String(value().size);
  if (next !== size) Object.assign(view, { zoom: null, x: 0.5, y: 0.5 });
  size = next;
  build();
});
build();

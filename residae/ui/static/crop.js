// Choosing a part of a picture that was reduced, to work on it at full resolution. Goes on from viewer.js.
// `props.value.source` is { size: [w, h] of the whole picture, longest: of a part's side, part: the one that is shown, or null }.
const cropButton = $(".crop"), chooser = $(".chooser"), box = $(".box"), useButton = $(".use");
let part = null; // [left, top, width, height] in pixels of the whole picture, while one is being chosen

const source = () => given().source;
const frameToChooseIn = () => frames.find((frame) => frame.pictures.length);

function placePart() {
  const frame = frameToChooseIn(), choosing = Boolean(part && frame && source());
  chooser.hidden = !choosing;
  surface.classList.toggle("choosing", choosing);
  cropButton.setAttribute("aria-pressed", String(choosing));
  if (!choosing) return;
  const [width] = sizeNow(), scale = frame.scale * width / source().size[0], [left, top, w, h] = part;
  const [outer, inner] = [surface.getBoundingClientRect(), frame.root.getBoundingClientRect()];
  Object.assign(box.style, {
    left: `${inner.left - outer.left + frame.left + left * scale}px`, top: `${inner.top - outer.top + frame.top + top * scale}px`,
    width: `${w * scale}px`, height: `${h * scale}px`,
  });
  useButton.textContent = `Work on these ${w.toLocaleString("en")} × ${h.toLocaleString("en")} px`;
}

function setPart(left, top, width, height) {
  const { size: [wide, high], longest } = source();
  width = Math.round(Math.min(Math.max(width, 16), longest, wide));
  height = Math.round(Math.min(Math.max(height, 16), longest, high));
  part = [Math.round(Math.min(Math.max(left, 0), wide - width)), Math.round(Math.min(Math.max(top, 0), high - height)), width, height];
  placePart();
}

function choosePart() {
  if (source().part) return trigger("select", { part: null });
  if (part) return leavePart();
  const { size: [wide, high], longest } = source(), width = Math.min(longest, wide), height = Math.min(longest, high);
  zoomTo(null);
  setPart((wide - width) / 2, (high - height) / 2, width, height);
  box.focus({ preventScroll: true });
}
function leavePart() {
  part = null;
  placePart();
  stage.focus({ preventScroll: true });
}
function usePart() {
  trigger("select", { part });
  leavePart();
}

cropButton.onclick = choosePart;
useButton.onclick = usePart;
$(".cancel").onclick = leavePart;

const toSource = (event) => {
  const frame = frameToChooseIn(), at = within(event, frame), scale = frame.scale * sizeNow()[0] / source().size[0];
  return [(at.x - frame.left) / scale, (at.y - frame.top) / scale];
};
let grip = null; // what a drag began with: the pointer's place, and the part if it is moved
chooser.addEventListener("pointerdown", (event) => {
  if (event.target.closest("button")) return;
  chooser.setPointerCapture(event.pointerId);
  grip = { from: toSource(event), moved: event.target === box ? [...part] : null };
});
chooser.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const [x, y] = toSource(event), [x0, y0] = grip.from, { longest } = source();
  if (grip.moved) return setPart(grip.moved[0] + x - x0, grip.moved[1] + y - y0, grip.moved[2], grip.moved[3]);
  const w = Math.min(Math.abs(x - x0), longest), h = Math.min(Math.abs(y - y0), longest);
  setPart(x < x0 ? x0 - w : x0, y < y0 ? y0 - h : y0, w, h);
});
for (const type of ["pointerup", "pointercancel"]) chooser.addEventListener(type, () => { grip = null; });
box.addEventListener("keydown", (event) => {
  const [left, top, width, height] = part, step = source().size[0] / 64;
  const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
  if (dx !== undefined) setPart(...(event.shiftKey ? [left, top, width + dx, height + dy] : [left + dx, top + dy, width, height]));
  else if (event.key === "Enter") usePart();
  else return;
  event.preventDefault();
  event.stopPropagation();
});
surface.addEventListener("keydown", (event) => { // before the keys of the viewer, one of which leaves the full screen
  if (!part || event.key !== "Escape") return;
  leavePart();
  event.preventDefault();
  event.stopPropagation();
}, true);
document.addEventListener("residae-shown", () => {
  const { size: whole, part: shown } = source() ?? {};
  cropButton.hidden = !whole;
  cropButton.replaceChildren(...(shown ? ["Whole", make("span", { textContent: "\u00a0picture" })] : ["Crop"]));
  if (part && (!whole || shown)) leavePart();
  else if (part) setPart(...part); // within a picture that may be another
});
stage.addEventListener("placed", placePart);

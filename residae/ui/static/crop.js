// Choosing a part of a picture that was reduced, to work on it at full resolution. Goes on from viewer.js.
// `props.value.source` is { size: [w, h] of the whole picture, longest: of a part's side, part: the one that is shown, or null }.
const cropButton = $(".crop"), chooser = $(".chooser"), box = $(".box"), useButton = $(".use");
const MIN_SIDE = 16; // pixels of the whole picture
let part = null; // [left, top, width, height] in pixels of the whole picture, while one is being chosen or worked on
let before = null; // the result that was shown when the work on the part began; null while it is being chosen

const source = () => given().source;
const shownResult = () => given().panes[given().result]?.picture.url;
const scaleOfSource = (frame) => frame.scale * sizeNow()[0] / source().size[0]; // CSS pixels for a pixel of the whole picture
const frameToChooseIn = () => frames.find((frame) => frame.pictures.length);

function placePart() {
  const frame = frameToChooseIn(), choosing = Boolean(part && frame && source());
  chooser.hidden = !choosing;
  chooser.inert = before !== null;
  surface.classList.toggle("choosing", choosing);
  cropButton.setAttribute("aria-pressed", String(choosing));
  if (!choosing) return;
  const scale = scaleOfSource(frame), [left, top, w, h] = part;
  const [outer, inner] = [surface.getBoundingClientRect(), frame.root.getBoundingClientRect()];
  Object.assign(box.style, {
    left: `${inner.left - outer.left + frame.left + left * scale}px`, top: `${inner.top - outer.top + frame.top + top * scale}px`,
    width: `${w * scale}px`, height: `${h * scale}px`,
  });
  const size = `${w.toLocaleString("en")} × ${h.toLocaleString("en")} px`;
  useButton.textContent = before ? `Reconstructing ${size}…` : `Work on these ${size}`;
}

function setPart(left, top, width, height) {
  const { size: [wide, high], longest } = source();
  width = Math.round(Math.min(Math.max(width, MIN_SIDE), longest, wide));
  height = Math.round(Math.min(Math.max(height, MIN_SIDE), longest, high));
  part = [Math.round(Math.min(Math.max(left, 0), wide - width)), Math.round(Math.min(Math.max(top, 0), high - height)), width, height];
  placePart();
}

/** Move the edges that a handle is on, by its name in CSS such as "nw", from where they are in `from`; the others stay. */
function resize(handle, [left, top, width, height], dx, dy) {
  const { size: [wide, high], longest } = source();
  const stretch = (start, length, moved, whole, first, last) => {
    if (!handle.includes(first) && !handle.includes(last)) return [start, length];
    const isFirst = handle.includes(first), room = isFirst ? start + length : whole - start;
    const longer = Math.round(Math.min(Math.max(length + (isFirst ? -moved : moved), MIN_SIDE), longest, room));
    return [isFirst ? start + length - longer : start, longer];
  };
  const [x, w] = stretch(left, width, dx, wide, "w", "e"), [y, h] = stretch(top, height, dy, high, "n", "s");
  setPart(x, y, w, h);
}

function choosePart() {
  if (source().part) return trigger("select", { part: null });
  if (before) return;
  if (part) return leavePart();
  const { size: [wide, high], longest } = source(), width = Math.min(longest, wide), height = Math.min(longest, high);
  zoomTo(null);
  setPart((wide - width) / 2, (high - height) / 2, width, height);
  box.focus({ preventScroll: true });
}
function leavePart() {
  part = before = null;
  placePart();
  stage.focus({ preventScroll: true });
}
/** Work on the part, which stays marked until its result is there, or until there will be none. */
function usePart() {
  before = shownResult();
  stage.focus({ preventScroll: true });
  placePart();
  trigger("select", { part });
}
const endWork = () => {
  if (!before) return;
  part = before = null;
  placePart();
};

cropButton.onclick = choosePart;
useButton.onclick = usePart;
$(".cancel").onclick = leavePart;

const toSource = (event) => {
  const frame = frameToChooseIn(), at = within(event, frame), scale = scaleOfSource(frame);
  return [(at.x - frame.left) / scale, (at.y - frame.top) / scale];
};
let grip = null; // what a drag began with: the place of the pointer, the part, and what was taken: a handle, "box", or "" beside it
chooser.addEventListener("pointerdown", (event) => {
  if (event.target.closest(".choice")) return;
  chooser.setPointerCapture(event.pointerId);
  grip = { from: toSource(event), part: [...part], taken: event.target.dataset.handle ?? (event.target === box ? "box" : "") };
});
chooser.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const [x, y] = toSource(event), [x0, y0] = grip.from, { longest } = source();
  if (grip.taken === "box") return setPart(grip.part[0] + x - x0, grip.part[1] + y - y0, grip.part[2], grip.part[3]);
  if (grip.taken) return resize(grip.taken, grip.part, x - x0, y - y0);
  const w = Math.min(Math.abs(x - x0), longest), h = Math.min(Math.abs(y - y0), longest);
  setPart(x < x0 ? x0 - w : x0, y < y0 ? y0 - h : y0, w, h);
});
for (const type of ["pointerup", "pointercancel"]) chooser.addEventListener(type, () => { grip = null; });
box.addEventListener("keydown", (event) => {
  const [left, top, width, height] = part, step = source().size[0] / 64, { handle } = event.target.dataset;
  const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
  if (dx !== undefined && (handle || event.shiftKey)) resize(handle ?? "se", part, dx, dy);
  else if (dx !== undefined) setPart(left + dx, top + dy, width, height);
  else if (event.key === "Enter") usePart();
  else return;
  event.preventDefault();
  event.stopPropagation();
});
surface.addEventListener("keydown", (event) => { // before the keys of the viewer, one of which leaves the full screen
  if (!part || before || event.key !== "Escape") return;
  leavePart();
  event.preventDefault();
  event.stopPropagation();
}, true);
document.addEventListener("residae-shown", () => {
  const { size: whole, part: shown } = source() ?? {};
  cropButton.hidden = !whole;
  cropButton.replaceChildren(...(shown ? ["Whole", make("span", { textContent: "\u00a0picture" })] : ["Crop"]));
  if (before) {
    if (before !== shownResult()) endWork();
  } else if (part && (!whole || shown)) leavePart();
  else if (part) setPart(...part); // within a picture that may be another
});
document.addEventListener("residae-alert", endWork);
document.addEventListener("click", ({ target }) => { if (target.closest("#picture .stop")) endWork(); });
stage.addEventListener("placed", placePart);

// The light table: pictures of one size under one zoom. viewer.py describes `props.value`.
const $ = (selector) => element.querySelector(selector);
const tools = $(".tools"), surface = $(".surface"), stage = $(".stage"), bar = $(".views"), maps = $(".maps"), readout = $(".readout"), key = $(".key");
const fitButton = $(".fit"), oneButton = $(".one"), fullButton = $(".full-screen"), help = $(".help");
const say = sayIn($(".message"));
const HOLD = 250; // ms of a press without movement, from which on the original is shown
const STILL = 6; // CSS pixels of movement that still count as none
const HINT = 4000; // ms for which the keys are named over the first picture
// zoom: CSS pixels per pixel of the picture, null fits; front: the one of stacked pictures that covers the others
const view = { name: null, signed: false, zoom: null, x: 0.5, y: 0.5, divide: 0.5, front: null, peek: false };
let frames = []; // { root, pictures: [<img>], panes, left, top, scale, peek, divider, slide, tags }
let loading = 0, hinted = 0;
let refreshing = Promise.resolve(); // settled when the pictures that load now are shown
let previews = 0;
let previewing = false; // whether a preview is drawn over the result
const BESIDE = 130, LOW = 60; // CSS pixels of the room for a name beside a picture, and for one below it
const MAX_PREVIEW = 2e6; // pixels of what is drawn: more would take too long

const EMPTY = { panes: [], views: [], size: [3, 2], key: {} };
const A_AND_B = "A | B";
const ADVICE = "Hold a picture to see the original. All pictures zoom and move together.";
// What the tools do without, one after the other, until they fit in one row: a second one would move the picture
const DISPENSABLE = ["scale", "room", "absolute", "steps", "words", "spaces"];
let table = EMPTY; // `props.value`, and the result that is kept as A
const value = () => table;
const currentView = () => value().views.find((v) => v.name === view.name) || given().views[0];
const sizeNow = () => currentView()?.size || value().size;
const pictureOf = (pane) => (view.signed && pane.signed) || pane.picture; // a map has one of either kind
const address = (pane) => pictureOf(pane).url;
const original = () => value().panes[value().original ?? -1];

function press(buttons, chosen) {
  [...buttons.children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === chosen)));
}

// A and B: the result that was kept, from whichever light table, beside the one that this table shows

const given = () => props.value || EMPTY;

const isComparable = () => {
  const { kept } = residae, { subject, size, result } = given();
  return Boolean(kept) && kept.subject === subject && String(kept.size) === String(size) && result != null;
};

/** Why A, which shows the same picture, cannot be compared with the result that this table shows; "" if it can. */
function obstacle() {
  const { kept } = residae, { subject, size, result } = given();
  if (isComparable() || kept?.subject !== subject || result == null) return "";
  const pixels = (sides) => sides.map((side) => side.toLocaleString("en")).join(" × ");
  return `A has ${pixels(kept.size)} pixels, and this result has ${pixels(size)}. Choose the working size of A to compare them.`;
}

function update() {
  previews++; // those that load now are of the result before
  const { kept } = residae, { panes, views, result } = given();
  if (!isComparable()) table = given();
  else table = {
    ...given(),
    panes: [...panes, kept.pane, { ...panes[result], name: "B" }],
    views: [{ name: A_AND_B, panes: [panes.length, panes.length + 1], wipe: true }, ...views],
  };
  build();
  document.dispatchEvent(new Event("residae-shown"));
  const shown = panes[result], { tell } = wanted ?? {};
  if (wanted && shown?.picture?.url !== wanted.url) wanted = null; // another result came
  else if (wanted && shown.facts) {
    wanted = null;
    keep(tell);
  }
}

let wanted = null; // the result that is to be kept as A: { url, tell }
async function keep(tell = say, pane = given().panes[given().result]) {
  if (!pane?.picture) return;
  if (!pane.facts) { // they follow, with the same picture
    wanted = { url: pane.picture.url, tell };
    return tell("It is kept as A once its figures are measured.");
  }
  const { subject, size, result, panes, settings, refined, key: keys } = given();
  const isResult = pane.picture.url === panes[result].picture.url; // the objects need not be the same
  const error = panes.find((one) => one.signed && (one.name === pane.name || isResult));
  const copied = ({ url }) => blobOf(url).then((blob) => ({ url: URL.createObjectURL(blob) })); // so that it outlives the server's file
  const copies = await Promise.all([pane.picture, error.picture, error.signed].map(copied)).catch(() => null);
  if (!copies) return tell("The picture is no longer on the server. Change a setting to make it again.");
  const [picture, absolute, signed] = copies, maps = { name: "A", alt: "Error of A", keys, picture: absolute, signed };
  const known = isResult && settings && !refined ? settings : null;
  residae.keep({ subject, size, pane: { ...pane, name: "A", picture, error: maps, signed: null, measured: true }, settings: known });
  if (isResult && !residae.first) tell("Kept as A. Change a setting, and the result is B.");
}
document.addEventListener("residae-kept", () => {
  const leaving = !residae.kept && view.name === A_AND_B;
  const compares = stage.checkVisibility() || given().file !== undefined; // what is looked at, and the Overview, which makes B
  if (isComparable() && compares) Object.assign(view, { name: A_AND_B, front: null });
  if (leaving) Object.assign(view, { name: null, front: null });
  if (leaving) say("");
  update();
});

/** The facts of A and B, each as [name, A, B]. */
const facts = ([a, b]) => [...new Set([a, b].flatMap(({ facts }) => Object.keys(facts || {})))]
  .map((name) => [name, a.facts?.[name] ?? "–", b.facts?.[name] ?? "–"]);
const differing = (panes) => panes.every((pane) => pane.facts) ? facts(panes).filter(([name, a, b]) => a !== b && name !== "Raw pixels : file") : []; // which says what the bytes do

/** Show what differs between A and B; null hides it. While the figures of B are measured, what was shown last stays. */
function showDifferences(panes) {
  if (panes && !panes.every((pane) => pane.facts)) return;
  const rows = panes ? differing(panes) : [];
  const cells = [["\u00a0", "A", "B"], ...rows].map(([name, ...both]) =>
    make("div", {}, make("dt", { textContent: name }), ...both.map((textContent) => make("dd", { textContent }))));
  for (const place of [$(".differences"), element.closest("#result")?.querySelector("#comparison .differences")]) { // in the Overview in place of the figures
    if (!place) continue;
    place.hidden = !rows.length;
    place.replaceChildren(...cells.map((cell) => cell.cloneNode(true)));
  }
}

// Building: a frame for each picture, or one for a view whose pictures lie on one another

function columns(count) {
  // The number that makes the pictures largest; empty places count against it
  const [width, height] = sizeNow(), { offsetWidth: wide, offsetHeight: high } = stage; // without what animates it
  let best = 1, largest = 0;
  for (let n = 1; n <= count; n++) {
    const rows = Math.ceil(count / n), filled = count / (n * rows);
    const area = Math.min(wide / n / width, (high / rows - 22) / height) * filled ** 0.5;
    if (area > largest) [best, largest] = [n, area];
  }
  return best;
}

/** Lay the frames out. Cells that the last row has left say how to look at so many pictures. */
function arrange() {
  if (!stage.clientWidth) return; // in a tab that is closed: as it was, until it is open again
  const count = frames.length, each = columns(count), left = (each - count % each) % each, advice = $(".advice");
  stage.style.gridTemplateColumns = `repeat(${each}, minmax(0, 1fr))`;
  const wide = stage.clientWidth / each; // of a column: what is too narrow for a caption has a shorter one, or one of two lines
  stage.toggleAttribute("data-narrow", wide < 220);
  stage.toggleAttribute("data-narrower", wide < 176);
  if (!advice) return;
  advice.hidden = !left;
  advice.style.gridColumn = left ? `span ${left}` : "";
}

function frameOf(panes) {
  const frame = { root: make("div", { className: "frame" }), panes, pictures: [] };
  if (!panes[0].picture) {
    frame.absent = make("p", { className: "absent" });
    frame.root.append(frame.absent);
    return frame;
  }
  frame.pictures = panes.map((pane) => make("img", {
    alt: pane.alt, draggable: false, src: address(pane), onload: place, className: pane.signed ? "map" : "",
  }));
  frame.root.append(...frame.pictures);
  return frame;
}

function stack(panes, divided) {
  const frame = frameOf(panes);
  frame.tags = panes.map(() => make("b", { className: "tag", hidden: true })); // until place() has put it there, as what follows
  frame.root.append(...frame.tags);
  if (!divided && panes.length > 1) {
    frame.chips = make("div", { className: "chips" }, ...panes.map((_, i) => make("button", { type: "button", onclick: () => bring(i) })));
    frame.chips.role = "group";
    frame.chips.ariaLabel = "Picture in front";
  }
  if (!divided) return [frame, make("figure", {}, frame.root, frame.chips ?? "")];
  frame.divider = make("div", { className: "divider", hidden: true });
  frame.slide = make("input", { type: "range", min: 0, max: 100, step: 0.5, className: "wipe", hidden: true });
  frame.slide.oninput = () => divide(frame.slide.value / 100);
  frame.root.append(frame.divider);
  return [frame, make("figure", {}, frame.root, frame.slide)];
}

function single(pane) {
  const frame = frameOf([pane]);
  frame.caption = make("figcaption", {}, make("b"), make("span"));
  if (pane.picture) {
    const onclick = () => keep(say, frame.panes[0]);
    frame.keep = make("button", { type: "button", className: "keep", onclick }, "Keep", make("span", { textContent: "\u00a0as A" }));
    frame.caption.append(frame.keep);
  }
  return [frame, make("figure", {}, frame.root, frame.caption)];
}

/** Draw the views and the pictures anew, and leave the focus on what has taken the place of what had it. */
function build() {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  draw();
  if (!focused || focused.isConnected) return;
  const nameOf = (node) => node.className + (node.ariaLabel ?? node.textContent), name = nameOf(focused);
  ([...element.querySelectorAll(focused.localName)].find((node) => nameOf(node) === name) ?? stage).focus({ preventScroll: true });
}

function draw() {
  const { panes, views } = value(), current = currentView();
  element.toggleAttribute("data-empty", !panes.length);
  element.toggleAttribute("data-peekable", Boolean(original()));
  bar.replaceChildren(...(views.length > 1 ? views : []).map((v) => make("button", { type: "button", textContent: v.name, onclick: () => choose(v) })));
  press(bar, views.indexOf(current));
  if (!current) {
    stage.replaceChildren(make("p", { className: "invitation", textContent: given().invitation ?? stage.dataset.invitation }));
    stage.style.gridTemplateColumns = stage.dataset.layout = key.innerHTML = "";
    frames = [];
    loading++; // pictures that load now are outdated
    showDifferences(null);
    return;
  }
  const shown = current.panes.map((i) => panes[i]);
  maps.hidden = !shown.some((pane) => pane.signed);
  press(maps, Number(view.signed));
  if (!hinted) hinted = setTimeout(() => element.toggleAttribute("data-hinted", true), HINT);
  const stacked = Boolean(current.wipe || current.stack);
  element.toggleAttribute("data-stacked", stacked);
  element.toggleAttribute("data-blinks", stacked && shown.length > 1);
  element.toggleAttribute("data-signed", view.signed);
  // A picture stays until its successor has loaded, so that no frame is ever empty.
  const layout = [current.name, ...shown.map((pane) => Boolean(pane.picture))].join();
  if (stage.dataset.layout === layout) return refresh(current, shown);
  stage.dataset.layout = layout;
  loading++;
  const made = stacked ? [stack(shown, current.wipe)] : shown.map(single);
  frames = made.map(([frame]) => frame);
  stage.replaceChildren(...made.map(([, figure]) => figure));
  if (frames.length > 2 && original()) stage.append(make("p", { className: "advice", textContent: ADVICE }));
  finish(current, shown);
}

function refresh(current, shown) {
  const round = ++loading;
  const changes = frames.flatMap((frame, f) => {
    frame.panes = frame.tags ? shown : [shown[f]];
    return frame.pictures.map((node, i) => [node, address(frame.panes[i]), frame.panes[i].alt]);
  });
  const decoded = Promise.allSettled(changes.map(([, src]) => Object.assign(new Image(), { src }).decode()));
  refreshing = outdated(stage, decoded).then(() => {
    if (round !== loading) return; // newer pictures are loading
    for (const [node, src, alt] of changes) {
      if (node.getAttribute("src") !== src) node.src = src;
      node.alt = alt;
    }
    finish(current, shown);
  });
}

function finish(current, shown) {
  const { key: keys } = value();
  previewing = false;
  showDifferences(current.name === A_AND_B && shown);
  const keyOfErrors = shown.some((pane) => pane.signed) && keys?.[view.signed ? "signed" : "absolute"];
  key.innerHTML = (current.key === true ? keyOfErrors : current.key) || "";
  for (const frame of frames) {
    frame.preview?.remove();
    frame.preview = null;
    if (frame.absent) frame.absent.textContent = frame.panes[0].alt;
    const [difference] = current.name === A_AND_B ? differing(shown) : [];
    frame.tags?.forEach((tag, i) => {
      const caption = difference ? `${difference[0]} ${difference[1 + i]}` : frame.panes[i].caption;
      tag.textContent = [frame.panes[i].name, caption].filter(Boolean).join(" · ");
    });
    frame.chips?.childNodes.forEach((chip, i) => { chip.textContent = frame.panes[i].name; });
    frame.slide?.setAttribute("aria-label", `Divide between ${shown[0].name} on the left and ${shown.at(-1).name} on the right`);
    if (frame.caption) [frame.caption.children[0].textContent, frame.caption.children[1].textContent] = [frame.panes[0].name, frame.panes[0].caption || ""];
    if (frame.keep) {
      frame.keep.hidden = !frame.panes[0].facts; // in a comparison they come after the picture
      frame.keep.setAttribute("aria-label", `Keep ${frame.panes[0].name} as A`);
    }
  }
  arrange();
  place();
}

/** A picture with a change added, which is enlarged to its size; previews.py describes it. */
function changed(picture, change) {
  const { naturalWidth, naturalHeight } = picture, share = Math.min(1, Math.sqrt(MAX_PREVIEW / (naturalWidth * naturalHeight)));
  const [width, height] = [naturalWidth, naturalHeight].map((side) => Math.max(1, Math.round(share * side)));
  const drawn = [picture, change].map((image) => {
    const context = make("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    return context;
  });
  const [shown, changes] = drawn.map((context) => context.getImageData(0, 0, width, height)), levels = shown.data, steps = changes.data;
  for (let i = 0; i < levels.length; i++) levels[i] += 2 * (steps[i] - 128);
  drawn[0].putImageData(shown, 0, 0);
  return drawn[0].canvas;
}

/** Draw a preview, { change: URL, text }, over the result until the next value; null shows the result again. */
async function preview(shown) {
  const { panes, result } = given(), round = ++previews;
  if (!shown || !panes[result]) return build();
  const change = Object.assign(new Image(), { src: shown.change });
  await Promise.all([change.decode(), refreshing]);
  if (round !== previews) return; // there is a newer one, or another result
  previewing = true;
  for (const frame of frames) frame.panes.forEach((pane, i) => {
    if (pane.picture !== panes[result].picture || !frame.pictures[i]?.naturalWidth) return;
    frame.preview?.remove();
    frame.preview = changed(frame.pictures[i], change);
    frame.pictures[i].after(frame.preview);
    if (frame.tags) frame.tags[i].textContent = shown.text; // without the name, which would not fit on a phone
    if (frame.caption) frame.caption.children[1].textContent = shown.text;
  });
  place();
}

// Placing: where the pictures lie in their frames

function scaleOf(frame) {
  const [width, height] = sizeNow();
  return view.zoom || Math.min(frame.root.clientWidth / width, frame.root.clientHeight / height);
}

function place() {
  const [width, height] = sizeNow();
  for (const frame of frames) {
    const { pictures, divider, slide, tags, preview, peek } = frame, { clientWidth: wide, clientHeight: high } = frame.root;
    if (!wide) continue;
    const scale = scaleOf(frame), w = width * scale, h = height * scale;
    const offset = (extent, inner, at) => inner <= extent ? (extent - inner) / 2 : Math.min(0, Math.max(extent - inner, extent / 2 - at * inner));
    const left = offset(wide, w, view.x), top = offset(high, h, view.y);
    Object.assign(frame, { left, top, scale });
    if (frame.caption) Object.assign(frame.caption.style, { // below the picture, if that has the width
      paddingInline: `${Math.max(0, Math.min(left, (wide - 240) / 2))}px`, translate: `0 ${Math.min(0, top + h - high)}px`,
    });
    for (const node of [...pictures, preview, peek].filter(Boolean)) Object.assign(node.style, {
      width: `${w}px`, height: `${h}px`, transform: `translate(${left}px, ${top}px)`, imageRendering: scale >= 2 ? "pixelated" : "auto",
    });
    if (!tags) continue;
    const from = Math.max(left, 0), to = Math.min(left + w, wide), x = from + view.divide * (to - from); // the visible part
    const front = view.front ?? (divider ? null : 0), cover = view.peek ? 0 : front;
    pictures.forEach((node, i) => {
      for (const layer of preview?.previousSibling === node ? [node, preview] : [node]) Object.assign(layer.style, {
        visibility: cover === null || cover === i ? "" : "hidden",
        clipPath: i && cover === null ? `inset(0 0 0 ${Math.max(0, x - left)}px)` : "",
      });
    });
    const upper = Math.max(top, 0), lower = Math.min(top + h, high);
    const [start, stop] = to - from < 320 ? [Math.max(0, from - BESIDE), Math.min(wide, to + BESIDE)] : [from, to]; // names of a narrow picture begin beside it
    const line = lower - upper < LOW && lower + LOW < high ? lower : upper; // and those of a low one below it
    tags.forEach((tag, i) => {
      const [side, inset] = divider && i ? ["right", wide - stop] : ["left", start];
      const room = (front !== null ? stop - start : i ? stop - x : x - start) - 20; // on its own side of the divider
      tag.hidden = view.peek || (front !== null && front !== i) || room < 40;
      const across = side === "left" ? inset + 10 : -inset - 10;
      Object.assign(tag.style, { [side]: 0, translate: `${across}px ${line + 10}px`, maxWidth: `${room}px` });
    });
    if (frame.chips) press(frame.chips, front);
    if (!divider) continue;
    divider.hidden = slide.hidden = cover !== null;
    Object.assign(divider.style, { transform: `translateX(${x}px)`, top: `${upper}px`, height: `${lower - upper}px` });
    Object.assign(slide.style, { translate: `${from - 14}px`, width: `${to - from + 28}px` });
    slide.value = 100 * view.divide;
  }
  const first = frames.find((frame) => frame.root.clientWidth);
  if (first) $(".scale").textContent = `${Math.round(100 * scaleOf(first))} %`;
  fitButton.setAttribute("aria-pressed", String(view.zoom === null));
  oneButton.setAttribute("aria-pressed", String(view.zoom === 1));
  surface.classList.toggle("zoomed", view.zoom !== null);
  surface.classList.toggle("peeking", view.peek);
  read();
  stage.dispatchEvent(new Event("placed"));
}

// What can be done: each is on a button or a key, and with a pointer

const choose = (chosen) => {
  Object.assign(view, { name: chosen.name, front: null }, chosen.size ? { zoom: null } : {});
  build();
  bar.querySelector('[aria-pressed="true"]')?.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone some are beyond the edge
};
const nextView = () => {
  const { views } = value();
  choose(views[(views.indexOf(currentView()) + 1) % views.length]);
};
const divide = (share) => {
  Object.assign(view, { divide: Math.min(1, Math.max(0, share)), front: null });
  place();
};
/** Show one of the pictures that lie on one another. */
const bring = (front) => {
  view.front = front;
  place();
};
const blink = () => {
  const { tags, divider } = frames[0] ?? {};
  if (!tags) return;
  bring(((view.front ?? (divider ? -1 : 0)) + 1) % tags.length);
};
const peek = (on) => {
  if (!original() || view.peek === on) return;
  view.peek = on;
  for (const frame of frames) {
    frame.peek?.remove();
    frame.peek = on && frame.pictures.length ? make("img", { alt: "", draggable: false, decoding: "sync", src: original().picture.url }) : null;
    if (frame.peek) (frame.preview ?? frame.pictures.at(-1)).after(frame.peek);
  }
  place();
};

function zoomTo(zoom, frame = frames[0], at = null) {
  // keep the point under the pointer where it is
  if (!frame) return;
  const [width, height] = sizeNow(), before = scaleOf(frame);
  if (zoom !== null) zoom = Math.min(16, Math.max(0.05, zoom));
  if (zoom !== null && at) {
    const px = (at.x - frame.left) / before, py = (at.y - frame.top) / before;
    view.x = (px + (frame.root.clientWidth / 2 - at.x) / zoom) / width;
    view.y = (py + (frame.root.clientHeight / 2 - at.y) / zoom) / height;
  }
  view.zoom = zoom;
  pan(0, 0);
}
const zoomBy = (factor) => zoomTo(scaleOf(frames[0]) * factor);

function pan(dx, dy) {
  const [width, height] = sizeNow(), scale = scaleOf(frames[0]);
  view.x = Math.min(1, Math.max(0, view.x + dx / (width * scale)));
  view.y = Math.min(1, Math.max(0, view.y + dy / (height * scale)));
  place();
}

const isFull = () => element.hasAttribute("data-full");
const room = make("div"); // stands in the place of the table that fills the screen, so that nothing behind it moves
const showFull = (full) => {
  const from = element.getBoundingClientRect();
  if (full) {
    room.style.cssText = `flex: none; height: ${element.offsetHeight}px`;
    element.before(room);
  } else room.remove();
  element.toggleAttribute("data-full", full);
  fullButton.setAttribute("aria-pressed", String(full));
  document.body.classList.toggle("behind-full", full);
  stage.focus({ preventScroll: true });
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) moveFrom(from);
};

/** Grow, or shrink, from a place in the window to the place that the table has now. */
function moveFrom(from) {
  const to = element.getBoundingClientRect();
  element.setAttribute("data-moving", "");
  element.animate({
    transformOrigin: ["0 0", "0 0"],
    translate: [`${from.x - to.x}px ${from.y - to.y}px`, "0 0"],
    scale: [`${from.width / to.width} ${from.height / to.height}`, "1 1"],
  }, { duration: 120, easing: "ease-out" }).onfinish = () => {
    element.removeAttribute("data-moving");
    place(); // what is placed by boxes of the window, as the part to crop
  };
}
const toggleFull = () => {
  if (document.fullscreenElement) return document.exitFullscreen();
  showFull(!isFull());
  if (isFull()) element.requestFullscreen?.().catch(() => {}); // or it fills the window alone, as on a phone without it
};
document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement && isFull()) showFull(false); });

// Values under the pointer, from the pixels of the files themselves

const probe = make("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
const sources = new Map(); // url -> the picture, decoded
let pointer = null; // its last event over the pictures, until it leaves them
let reading = 0;

function sourceOf(url) {
  if (!sources.has(url)) {
    if (sources.size > 8) sources.delete(sources.keys().next().value);
    const picture = Object.assign(new Image(), { src: url });
    sources.set(url, picture.decode().then(() => picture));
  }
  return sources.get(url);
}

async function sample({ url }, x, y) {
  const picture = await sourceOf(url), [width, height] = sizeNow();
  probe.drawImage(picture, Math.floor(x * picture.naturalWidth / width), Math.floor(y * picture.naturalHeight / height), 1, 1, 0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
}

const hideReadout = () => { readout.hidden = true; };

/** Show the values under the pointer; called wherever it moves, or the pictures below it do. */
async function read() {
  const round = ++reading, event = pointer, frame = event && !previewing && frameAt(event);
  if (!frame) return hideReadout();
  const at = within(event, frame), [width, height] = sizeNow();
  const x = Math.floor((at.x - frame.left) / frame.scale), y = Math.floor((at.y - frame.top) / frame.scale);
  if (!(x >= 0 && y >= 0 && x < width && y < height)) return hideReadout();
  const { panes } = value(), first = original();
  const candidates = frame.panes.some((pane) => pane.measured && pane !== first) ? frame.panes : panes;
  const measured = [first, ...candidates.filter((pane) => pane.measured && pane !== first)].filter((pane) => pane?.picture).slice(0, 3);
  if (!measured.length) return hideReadout();
  const samples = await Promise.all(measured.map((pane) => sample(pane.picture, x, y))).catch(() => null);
  if (round !== reading) return;
  if (!samples) return hideReadout(); // a picture is no longer on the server
  const gray = samples.every(([r, g, b]) => r === g && g === b);
  const error = (a, b) => {
    if (gray) return String(b[0] - a[0]).replace("-", "\u2212");
    return Math.sqrt(a.reduce((sum, _, c) => sum + (b[c] - a[c]) ** 2, 0) / 3).toFixed(1);
  };
  const rows = samples.map((levels, i) => [measured[i].name, gray ? levels[0] : levels.join(" "), i && first ? `error ${error(samples[0], levels)}` : ""]);
  readout.replaceChildren(...[[`x ${x}, y ${y}`, "", ""], ...rows].flat().map((textContent) => make("span", { textContent })));
  const box = surface.getBoundingClientRect();
  readout.hidden = false;
  readout.classList.toggle("aside", event.clientX < box.left + box.width / 2 && event.clientY > box.bottom - box.height / 3);
}

// Pointers: drag to move, two fingers to zoom, hold still to see the original

/** The frame at the pointer. Events that the stage has captured do not have it as their target. */
const frameAt = ({ clientX: x, clientY: y }) => frames.find(({ root }) => {
  const box = root.parentElement.getBoundingClientRect();
  return x >= box.left && x < box.right && y >= box.top && y < box.bottom;
});
const within = (event, frame) => {
  const box = frame.root.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};
const fingers = new Map(); // pointerId -> its last event
let drag = null, holding = 0;

stage.addEventListener("pointerdown", (event) => {
  const frame = frameAt(event);
  if (!frame || event.button || event.target.closest("button")) return;
  say(""); // a message that lasts would cover the picture
  fingers.set(event.pointerId, event);
  clearTimeout(holding);
  if (event.target.closest(".wipe")) return; // the divider moves alone
  stage.setPointerCapture(event.pointerId); // so that the release is noticed wherever it happens
  drag = { x: event.clientX, y: event.clientY, frame };
  if (fingers.size === 1) holding = setTimeout(peek, HOLD, true);
  pointer = fingers.size === 1 ? event : null; // two fingers point at nothing
  read();
});
stage.addEventListener("pointermove", (event) => {
  if (drag && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > STILL && !view.peek) clearTimeout(holding);
  pointer = fingers.size > 1 ? null : event;
  if (drag && fingers.size === 2 && fingers.has(event.pointerId)) {
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY); };
    const middle = () => { const [a, b] = [...fingers.values()]; return { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 }; };
    const before = spread(), from = middle();
    fingers.set(event.pointerId, event);
    const to = middle();
    zoomTo(scaleOf(drag.frame) * spread() / before, drag.frame, within(to, drag.frame));
    pan(from.clientX - to.clientX, from.clientY - to.clientY);
    return;
  }
  if (drag && fingers.has(event.pointerId) && view.zoom !== null) {
    pan(drag.x - event.clientX, drag.y - event.clientY);
    Object.assign(drag, { x: event.clientX, y: event.clientY });
    return;
  }
  read();
});
const release = (event) => {
  fingers.delete(event.pointerId);
  clearTimeout(holding);
  drag = null;
  peek(false);
};
for (const type of ["pointerup", "pointercancel"]) stage.addEventListener(type, release);
stage.addEventListener("pointerleave", () => { pointer = null; read(); });
stage.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch" || view.peek) event.preventDefault(); });
stage.addEventListener("dblclick", (event) => {
  const frame = frameAt(event);
  if (frame) zoomTo(view.zoom === null ? 1 : null, frame, within(event, frame));
});
stage.addEventListener("wheel", (event) => {
  const frame = frameAt(event);
  if (!frame || !(event.ctrlKey || event.metaKey || isFull())) return; // a plain wheel scrolls the page
  event.preventDefault();
  zoomTo(scaleOf(frame) * Math.exp(-event.deltaY / 200), frame, within(event, frame));
}, { passive: false });

// Keys: while the focus is in the light table, or the pointer is on it and the focus is nowhere; "?" everywhere

const KEYS = {
  ArrowLeft: (shift) => shift ? divide(view.divide - 0.02) : pan(-40, 0),
  ArrowRight: (shift) => shift ? divide(view.divide + 0.02) : pan(40, 0),
  ArrowUp: () => pan(0, -40),
  ArrowDown: () => pan(0, 40),
  "+": () => zoomBy(1.25),
  "=": () => zoomBy(1.25),
  "-": () => zoomBy(1 / 1.25),
  0: () => zoomTo(null),
  1: () => zoomTo(1),
  b: blink,
  f: toggleFull,
  v: nextView,
  " ": () => peek(true),
  "?": () => $(".keys-button").click(),
};
/** Whether "?" is pressed outside of all light tables and of text, and this table, as the first that is seen, lists the keys. */
const isAsked = ({ key, target }) => {
  const stages = [...document.querySelectorAll(".light-table .stage")].filter((one) => one.checkVisibility());
  const isElsewhere = !target.closest(".light-table, textarea, input:not([type=range], [type=radio], [type=checkbox])");
  return key === "?" && isElsewhere && stages[0] === stage && !(target === document.body && stages.some((one) => one.matches(":hover")));
};
document.addEventListener("keydown", (event) => {
  const inside = element.contains(event.target), pointed = event.target === document.body && stage.matches(":hover");
  if (!frames.length || !(inside || pointed || isAsked(event)) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isFull() && !document.fullscreenElement) return showFull(false);
  if (event.target.closest("button") && [" ", "Enter"].includes(event.key)) return;
  if (event.target.matches("input") && event.key.startsWith("Arrow") && !event.shiftKey) return; // the divider's own
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (event.repeat && [" ", "b", "f", "v"].includes(event.key.toLowerCase()))) return event.key === " " && act && event.preventDefault();
  event.preventDefault();
  act(event.shiftKey);
});
document.addEventListener("keyup", (event) => { if (event.key === " ") peek(false); });
window.addEventListener("blur", () => peek(false));

fitButton.onclick = () => zoomTo(null);
oneButton.onclick = () => zoomTo(1);
fullButton.onclick = toggleFull;
$(".closer").onclick = () => zoomBy(1.25);
$(".farther").onclick = () => zoomBy(1 / 1.25);
$(".blink").onclick = blink;
help.addEventListener("toggle", ({ newState }) => { if (newState === "open") help.focus(); }); // so that it is read out
[...maps.children].forEach((button, i) => {
  button.onclick = () => { view.signed = i === 1 && !(view.signed && !maps.firstElementChild.checkVisibility()); build(); }; // where there is room for the second alone
});
function fitTools() {
  for (let without = 0; without <= DISPENSABLE.length; without++) {
    tools.dataset.without = DISPENSABLE.slice(0, without).join(" ");
    if (tools.scrollWidth <= tools.clientWidth) return;
  }
}
new ResizeObserver(fitTools).observe(tools);
const toolsChange = new MutationObserver(fitTools);
for (const node of [bar, maps, $(".crop")]) toolsChange.observe(node, { childList: true, attributeFilter: ["hidden"] });
new ResizeObserver(() => {
  if (frames.length > 1) arrange();
  place();
}).observe(stage);

// What the page's other scripts ask of this light table

residae.tables.push({
  isIn: (id) => document.getElementById(id)?.contains(element),
  preview,
  isVisible: () => stage.checkVisibility(),
  keep,
  picture: () => given().picture,
  name: () => given().name,
  file: () => given().file,
  settings: () => given().settings, // that it was made with
  changes: () => { // to the picture, its file and its latent, which a link cannot hold
    const { source, refined, edited } = given();
    return { ...(source?.part && { cropped: 1 }), ...(refined && { refined }), ...(edited && { edited: 1 }) };
  },
  restore,
  obstacle,
  key: () => given().key[view.signed ? "signed" : "absolute"],
  facts,
  panes: () => { // what is kept as A, what this table shows, what both are made from, the error of what it shows, and all panes
    const all = given().panes.map((pane) => ({ ...pane, picture: pictureOf(pane) })), { error: maps, ...kept } = residae.kept?.pane ?? {};
    const error = maps && { ...maps, picture: pictureOf(maps), key: maps.keys[view.signed ? "signed" : "absolute"] };
    return { a: isComparable() ? { ...kept, error } : null, b: all[given().result], original: original(), error: all.find((pane) => pane.signed), all };
  },
  state: () => {
    const { signed, zoom, x, y, divide } = view, round = (number) => Number(number.toFixed(4));
    const place = zoom === null ? {} : { zoom: round(zoom), x: round(x), y: round(y) };
    return { show: currentView()?.name, ...(signed ? { signed: 1 } : {}), ...place, divide: round(divide) };
  },
});

/** Restore the view of a link, and say what of its sender's result this page cannot show. */
function restore(link) {
  const { show, signed, ...numbers } = link;
  const within = (name, least, most) => {
    const number = Number.parseFloat(numbers[name]);
    return Number.isFinite(number) ? Math.min(most, Math.max(least, number)) : null;
  };
  Object.assign(view, { name: show ?? null, signed: signed === "1", zoom: within("zoom", 0.05, 16) });
  for (const name of ["x", "y", "divide"]) view[name] = within(name, 0, 1) ?? 0.5;
  const lacking = residae.lacking(link), sentences = [];
  if (lacking.length) sentences.push(`This link does not contain ${either(lacking.map(({ opened }) => opened))}.`);
  if (lacking.length === 1) sentences.push(lacking[0].advice); // more would cover the picture of a phone
  if (residae.refused) sentences.push(`The result A of this link cannot be made here. ${residae.refused}`);
  for (const [name, used] of [[link.checkpoint, residae.overview.settings()], [link["a.checkpoint"], residae.kept?.settings]]) {
    if (name && used && name.toLowerCase() !== used.checkpoint.toLowerCase()) sentences.push(`The checkpoint ${name} is not on this page, which uses ${used.checkpoint}.`);
  }
  if (sentences.length) say([...new Set(sentences)].join(" ").trim(), 0);
  build();
}

let size = "", subject = null;
watch("value", () => {
  const next = String(given().size), changed = subject !== null && given().subject !== subject;
  if (size && next !== size) Object.assign(view, { zoom: null, x: 0.5, y: 0.5 });
  if (changed) say("");
  if (changed && given().file !== undefined && residae.kept) {
    residae.keep(null);
    say("A is no longer kept: it shows another picture, or another part of it.", 10);
  }
  size = next;
  subject = given().subject ?? null;
  update();
});
update();

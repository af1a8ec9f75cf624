// The buttons that keep, share and save what is shown. session.js has the light tables.
const button = (name) => element.querySelector(`.${name}`);
const menu = button("menu"), rae = button("rae");
const escaped = (text) => make("p", { textContent: text }).innerHTML;

const say = sayIn(button("message")); // above the buttons, which on a phone are far from the viewer
const stem = () => residae.overview.name();

async function loaded(src) {
  const image = Object.assign(new Image(), { src });
  await image.decode();
  return image;
}

function save(content, name) {
  const url = content instanceof Blob ? URL.createObjectURL(content) : content;
  make("a", { href: url, download: name }).click();
  if (content instanceof Blob) setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The key to the error map as a picture of that width. */
function keyImage(width, color = "#111") {
  const svg = residae.table.key().replace('width="100%"', `width="${width}" color="${color}" font-family="system-ui, sans-serif"`);
  return loaded(`data:image/svg+xml,${encodeURIComponent(svg)}`);
}

/** The error map as PNG, with its scale below it. */
async function errorMap() {
  const picture = await loaded(residae.table.panes().error.picture.url), margin = 16, high = 44;
  const width = Math.max(picture.naturalWidth, 360), canvas = make("canvas", { width, height: picture.naturalHeight + high + margin });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, (width - picture.naturalWidth) / 2, 0);
  context.drawImage(await keyImage(width - 2 * margin), margin, picture.naturalHeight + margin / 2);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}

/** Names and values of the settings and figures: [name, B], or [name, A, B] where a result is kept. */
function rows() {
  const { a, b } = residae.table.panes();
  return a ? residae.table.facts([a, b]) : Object.entries(b.facts || {});
}

const FIRST = ["Rate", "Raw pixels : file", "File", "SSIM", "PSNR"]; // what a reader looks for, backwards
const byInterest = ([a], [b]) => FIRST.indexOf(b) - FIRST.indexOf(a);

/** The table of all codecs with their compression ratios, and their chart, as HTML; none where the light table is not that of Equal bytes. */
function comparison(panes) {
  if (!residae.table.isIn("baselines")) return "";
  const table = document.querySelector("#baselines-figures table")?.cloneNode(true), chart = document.querySelector("#curves svg[role=img]");
  for (const row of table?.rows ?? []) {
    const [name, bytes] = row.cells, pane = panes.find((one) => one.facts && one.name === name.firstChild.textContent.trim());
    if (bytes.colSpan > 1) bytes.colSpan++; // in place of all figures
    else bytes.after(make(bytes.localName, { textContent: bytes.localName === "th" ? "Raw pixels : file" : pane?.facts["Raw pixels : file"] ?? "–" }));
  }
  for (const node of table?.querySelectorAll("[tabindex]") ?? []) node.removeAttribute("tabindex"); // there is nothing to explain them
  return [table, chart].filter(Boolean).map((node) => node.outerHTML).join("");
}

/** What a sheet shows, as a sentence. */
function introduction(b, a, codecs) {
  const network = `Residae’s neural network, checkpoint ${residae.overview.settings().checkpoint},`, { facts = {} } = b;
  if (codecs) return `This picture by ${network} and by other codecs in no more bytes than its file has, with the error of each.`;
  if (a) return `Two versions of this picture, A and B, with the error of each; ${network} made ${a.facts.Checkpoint ? "both" : "B"}.`;
  const from = facts.Edits ? "its edited latent" : facts.File ? `a file of ${facts.File}` : "its latent, which was not quantized";
  return `This picture, what ${network} rebuilds of it from ${from}, and the error.`;
}

/** One page of HTML with everything in it: all pictures, error maps, settings and figures. */
async function sheet() {
  const { a, b, error, all } = residae.table.panes(), table = comparison(all), key = residae.table.key();
  const names = new Map(a ? [[a, "A"], [b, "B"], [error, "Error of B"]] : table ? [] : [[error, "Error"]]);
  const shown = all.filter((pane) => pane.picture);
  if (a) shown.splice(1, 0, a); // after the original
  if (a?.error) shown.splice(shown.indexOf(error), 0, a.error);
  const figures = await Promise.all(shown.map(async (pane) => {
    const name = names.get(pane) ?? (pane.signed ? `Error of ${pane.name}` : pane.name);
    const image = `<img alt="${escaped(pane.alt)}" src="${await dataUrl(await blobOf(pane.picture.url))}">`;
    return `<figure>${image}<figcaption><b>${escaped(name)}</b> ${escaped(pane.caption ?? "")}</figcaption>${pane.signed ? pane.key ?? key : ""}</figure>`;
  }));
  const head = a ? "<tr><td></td><th>A</th><th>B</th></tr>" : "";
  const body = rows().sort(byInterest).map(([name, ...values]) =>
    `<tr${values.length > 1 && values[0] !== values[1] ? " class='differs'" : ""}><th>${escaped(name)}</th>${values.map((v) => `<td>${escaped(v)}</td>`).join("")}</tr>`).join("");
  figures.splice(a ? 1 : figures.length, 0, `<table>${head}${body}</table>`); // beside the original, so that A and B are beside each other
  const title = `${escaped(stem())}, compressed with Residae`;
  return new Blob([`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>
<style>
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
body { max-width: 1400px; margin: 0 auto; padding: 24px; } h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 4px; } header p { max-width: 75ch; margin: 0 0 20px; text-wrap: pretty; }
main { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 20px; } figure { margin: 0; break-inside: avoid; } img { display: block; width: 100%; height: auto; }
figcaption { padding: 6px 0; } figure svg, section svg { display: block; max-width: 100%; overflow: visible; print-color-adjust: exact; }
table { border-collapse: collapse; break-inside: avoid; } main table { align-self: start; } tr { border-bottom: 1px solid #8884; }
th, td { text-align: left; padding: 5px 28px 5px 0; font-weight: 400; white-space: nowrap; } td { font-weight: 600; } .differs td { color: #2563eb; } section { display: grid; gap: 28px; margin-top: 28px; } section :is(th, td) + :is(th, td) { text-align: right; padding: 5px 0 5px 28px; } section th small { opacity: 0.7; }
@media (prefers-color-scheme: dark) { .differs td { color: #7db0ff; } }
@media (max-width: 700px) { main { grid-template-columns: 1fr; } main :is(th, td) { padding-right: 16px; } section { overflow-x: auto; } }
@media print { :root { color-scheme: light; font-size: 11px; } body { padding: 0; color: #000; background: #fff; } .differs td { color: #2563eb; } }
</style><header><h1>${title}</h1><p>${escaped(introduction(b, a, table))}</p></header><main>${figures.join("")}</main>${table && `<section>${table}</section>`}</html>`], { type: "text/html" });
}

const ACTIONS = {
  reconstruction: async () => save(await blobOf(residae.table.panes().b.picture.url), `${stem()}-reconstruction.png`),
  error: async () => save(await errorMap(), `${stem()}-error.png`),
  sheet: async () => save(await sheet(), `${stem()}.html`),
  picture: async () => {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blobOf(residae.table.panes().b.picture.url) })]);
    say("The picture is on the clipboard.");
  },
  figures: async () => {
    await navigator.clipboard.writeText(rows().map((row) => row.join("\t")).join("\n"));
    say("The figures are on the clipboard.");
  },
};

function openMenu() {
  const box = button("save").getBoundingClientRect();
  menu.showPopover();
  const fits = box.left + menu.offsetWidth <= innerWidth - 8; // or it ends where the button does
  menu.style.left = `${fits ? box.left : Math.max(8, box.right - menu.offsetWidth)}px`;
  menu.style.top = `${Math.max(8, box.top - menu.offsetHeight - 6)}px`;
  menu.querySelector("button").focus();
}
menu.addEventListener("toggle", (event) => button("save").setAttribute("aria-expanded", String(event.newState === "open")));
menu.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget && !menu.contains(relatedTarget)) menu.hidePopover(); }); // by Tab
button("save").onclick = openMenu;
for (const item of menu.querySelectorAll("button")) item.onclick = async () => {
  menu.hidePopover();
  try { await ACTIONS[item.dataset.action](); } catch (error) {
    say(item.dataset.action === "picture" || item.dataset.action === "figures"
      ? "The browser does not let this page use the clipboard: save instead." : "The file cannot be made: its pictures are no longer on the server. Change a setting to make them again.");
  }
};

button("keep").onclick = () => residae.kept ? residae.keep(null) : residae.table?.keep(say);
document.addEventListener("residae-kept", () => {
  button("keep").textContent = residae.kept ? "Leave A | B" : "Keep as A";
  if (!residae.kept) say("");
});

let explained = ""; // the obstacle to a comparison that was said last
document.addEventListener("residae-shown", () => {
  const obstacle = residae.table?.obstacle() ?? "";
  if (obstacle !== explained) say(explained = obstacle, 10);
  else if (!obstacle) say(""); // what was said of the result before, above the controls that made this one
});

/** What is shown and not in the link, as a sentence; "" if all of it is. */
function limits(address) {
  const lacking = residae.lacking(Object.fromEntries(new URL(address).searchParams));
  return lacking.length ? ` It does not contain ${either(lacking.map(({ sent }) => sent))}.` : "";
}

button("share").onclick = async () => {
  const address = residae.address(), limit = limits(address);
  try {
    await navigator.clipboard.writeText(address);
    say(`The link is on the clipboard.${limit}`);
  } catch { // no permission, or a page that came over plain HTTP
    history.replaceState(null, "", address);
    say(`The link is in the address bar.${limit}`);
  }
};

rae.onclick = async (event) => { // the browser itself says nothing where the file was deleted
  event.preventDefault();
  try { save(await blobOf(rae.href), rae.download); } catch { say("The file is no longer on the server. Change a setting to make it again."); }
};
document.addEventListener("residae-shown", () => {
  const file = residae.overview?.file();
  rae.toggleAttribute("href", Boolean(file));
  rae.ariaDisabled = String(!file);
  if (file) Object.assign(rae, { href: file.url, download: file.orig_name });
  for (const one of element.querySelectorAll("button")) one.disabled = !residae.table;
});

// A link with an A: keep the first result, and go on with the other settings, if there are any: it may have been shared before one was changed
let keeping = false, isAlsoB = false;
const result = () => residae.overview?.panes().b;
document.addEventListener("residae-shown", async () => {
  if (!residae.first || keeping || !result()?.facts) return;
  keeping = true;
  await residae.overview.keep();
  isAlsoB = Object.entries(residae.first).every(([name, value]) => residae.link?.[name] === value);
  residae.first = null;
  if (isAlsoB) document.dispatchEvent(new Event("residae-shown")); // no other result will come
  else trigger("restore");
});

// Where A cannot be made, the link goes on with B; a picture that is chosen meanwhile has nothing to do with A
document.addEventListener("residae-alert", ({ detail }) => {
  if (!residae.first || keeping) return;
  residae.first = null;
  residae.refused = detail;
  trigger("restore");
});
for (const [type, place] of [["change", "#upload"], ["click", "#examples button"]]) document.addEventListener(type, (event) => {
  if (event.target.closest(place)) residae.first = null;
}, true);

/** Open the tab of a link, and restore its view when the first result is there, or the one after A. */
async function follow(link) {
  const tab = link.tab && `#tab-${CSS.escape(link.tab)}`;
  const isThere = () => result() && !residae.first && (isAlsoB || residae.overview.settings() !== residae.kept?.settings); // not that of A
  const open = async () => {
    (await residae.find(`${tab}-button`))?.click(); // the tabs may be built after this
    await residae.find(`${tab} .block`); // and so may what is in them
  };
  const opening = tab && open();
  while (!isThere()) await new Promise((resolve) => document.addEventListener("residae-shown", resolve, { once: true }));
  if (tab && document.querySelector(`${tab}-button`)) await opening; // by now there are all tabs, but not one of an unknown name
  (residae.tables.find((table) => table.isVisible()) ?? residae.overview).restore(link);
}
if (residae.link) follow(residae.link);

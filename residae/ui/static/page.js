// The page's own script: light and dark, slider releases, the mark of the example that is shown.
const THEME = "residae-theme"; // in localStorage: the one that was chosen
const applyTheme = () => {
  const theme = residae.recall(THEME);
  if (theme) document.body.classList.toggle("dark", theme === "dark");
};
applyTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme); // to which Gradio listens as well
// Gradio reports a slider's release by pointer only: let the keyboard and the number beside it count as well.
const MOVES = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"]; // a slider; Tab leads to it
const release = (event) => {
  const range = event.target.closest(".block")?.querySelector("input[type=range]");
  const typed = event.type === "change" && event.target.type === "number";
  const moved = event.type === "keyup" && event.target === range && MOVES.includes(event.key);
  const pointer = new PointerEvent("pointerup", { bubbles: true });
  if (range && (typed || moved)) setTimeout(() => range.dispatchEvent(pointer));
};
document.addEventListener("change", release);
document.addEventListener("keyup", release);
// A number that was deleted is no change: it comes back before Gradio sees that the field is left, or Enter.
let number = null; // the field that has the focus, and the number that it had
document.addEventListener("focusin", ({ target }) => { number = target.type === "number" ? { target, value: target.value } : null; });
const restore = ({ type, target, key }) => {
  if (target !== number?.target || (type === "keydown" && key !== "Enter")) return;
  if (target.value === "") {
    target.value = number.value;
    target.dispatchEvent(new Event("input", { bubbles: true }));
  }
  number.value = target.value;
};
for (const type of ["keydown", "change", "blur"]) addEventListener(type, restore, true);
const markExample = (isShown) => {
  for (const example of document.querySelectorAll("#examples button")) example.ariaCurrent = String(isShown(example));
};
document.addEventListener("residae-shown", async () => {
  await residae.find("#examples button"); // it may come after the first result
  const name = residae.overview?.picture();
  markExample((example) => example.querySelector("img").alt.toLowerCase() === name?.toLowerCase());
});
// Gradio names an upload, and the pictures of a gallery, by words of its own: screen readers hear those that are seen.
const nameAsSeen = () => {
  for (const upload of document.querySelectorAll(".upload-container")) {
    const label = upload.closest(".block").querySelector("[data-testid=block-label]"), onPhone = getComputedStyle(label, "::after").content;
    upload.ariaLabel = onPhone.startsWith('"') ? JSON.parse(onPhone) : label.textContent.trim();
  }
  for (const picture of document.querySelectorAll(":is(#examples, #others) button img")) picture.closest("button").ariaLabel = picture.alt;
  for (const icon of document.querySelectorAll(".icon-button:has(.upload-container)")) icon.ariaLabel = icon.title = "Choose more files";
};
// The focus comes back where what has it is drawn anew, as an upload is once files are chosen, or hidden: Stop takes the place of
// Start, and leaves the focus where it was before.
let pressed = null, place = null; // what had the focus last, but for Stop, and the part of the page around what has it
const isSeen = (node) => node?.checkVisibility({ visibilityProperty: true }) && !node.disabled;
document.addEventListener("pointerdown", () => { pressed = place = null; }, true);
document.addEventListener("focusin", ({ target }) => {
  if (!target.matches(".stop")) pressed = target;
  place = target.closest("#refine, .block:has(.upload-container)");
});
const bringFocusBack = () => {
  const { activeElement } = document;
  if (activeElement !== document.body && isSeen(activeElement)) return;
  const next = [...place?.querySelectorAll(".upload-container, .stop") ?? [], pressed].find(isSeen);
  next?.focus({ preventScroll: true });
};
let naming = 0; // at most once a frame
const nameSoon = () => {
  cancelAnimationFrame(naming);
  naming = requestAnimationFrame(() => {
    nameAsSeen();
    bringFocusBack();
  });
};
new MutationObserver(nameSoon).observe(document.documentElement, { childList: true, subtree: true });
addEventListener("resize", nameSoon); // a phone has fewer words
// Gradio gives each radio button a name of its own, and another whenever it draws it. With one name for all of a choice, Tab leads
// to the chosen one and arrows to the others. So they do among the tabs, which Enter opens.
new MutationObserver(() => { // at once: keys may follow each other faster than frames
  for (const radio of document.querySelectorAll("fieldset.block input[type=radio]")) {
    const { id } = radio.closest("fieldset");
    if (radio.name !== id) radio.name = id;
  }
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const index = tab.ariaSelected === "true" ? 0 : -1;
    if (tab.tabIndex !== index) tab.tabIndex = index; // which lets the browser compute styles where the tab has the focus
  }
}).observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["name", "aria-selected"] });
document.addEventListener("keydown", (event) => {
  const tabs = event.target.closest("[role=tablist]")?.querySelectorAll("[role=tab]") ?? [], at = [...tabs].indexOf(event.target);
  const next = { ArrowLeft: at - 1, ArrowRight: (at + 1) % tabs.length, Home: 0, End: -1 }[event.key];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  [...tabs].at(next).focus();
});
// The foot leads to the code, where its address is known, else to what is said of the model.
residae.find("footer").then((footer) => {
  const code = document.querySelector("meta[name=residae-code]")?.content;
  const link = code ? make("a", { href: code, target: "_blank", rel: "noopener", textContent: "Code" })
    : make("button", { type: "button", textContent: "About the model", onclick: () => document.querySelector("#tab-model-button").click() });
  link.className = "about";
  footer?.prepend(link, make("span", { textContent: "·" }));
});
// The rows of tabs and of examples, which on a phone have more than they show, fade out on the side where there is more.
document.addEventListener("scroll", ({ target }) => {
  if (!target.matches?.(".tab-wrapper, #examples .grid-container")) return;
  target.toggleAttribute("data-scrolled", target.scrollLeft > 1);
  target.toggleAttribute("data-at-end", target.scrollLeft + target.clientWidth >= target.scrollWidth - 1);
}, true);
document.addEventListener("click", (event) => {
  const chosen = event.target.closest("#examples button");
  if (chosen) markExample((example) => example === chosen); // before its result is there
  if (event.target.closest("#open-model")) document.querySelector("#tab-model-button").click();
  if (event.target.closest("#theme")) residae.store(THEME, document.body.classList.toggle("dark") ? "dark" : "light");
  event.target.closest("[role=tab]")?.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone some are beyond the edge
});

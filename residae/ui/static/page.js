// The page's own script: light and dark, slider releases.
const THEME = "residae-theme"; // in localStorage: the one that was chosen
const applyTheme = () => {
  const theme = residae.recall(THEME);
  if (theme) document.body.classList.toggle("dark", theme === "dark");
};
applyTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme); // to which Gradio listens as well
// Gradio reports a slider's release by pointer only: let the keyboard and the number beside it count as well.
const release = (event) => {
  const range = event.target.closest(".block")?.querySelector("input[type=range]");
  const typed = event.type === "change" && event.target.type === "number";
  const arrow = event.type === "keyup" && event.target === range;
  const pointer = new PointerEvent("pointerup", { bubbles: true });
  if (range && (typed || arrow)) setTimeout(() => range.dispatchEvent(pointer));
};
document.addEventListener("change", release);
document.addEventListener("keyup", release);
document.addEventListener("click", (event) => {
  if (event.target.closest("#theme")) residae.store(THEME, document.body.classList.toggle("dark") ? "dark" : "light");
  event.target.closest("[role=tab]")?.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone some are beyond the edge
});

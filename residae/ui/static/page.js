document.addEventListener("paste", (event) => {
  const input = document.querySelector("#upload input[type=file]");
  const pictures = [...event.clipboardData.files];
  if (!input || !pictures.length) return;
  const transfer = new DataTransfer();
  transfer.items.add(pictures[0]);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});
// Gradio tells of a slider's release by pointer only: let the keyboard and the number beside it count as well.
const release = (event) => {
  const range = event.target.closest(".block")?.querySelector("input[type=range]");
  const typed = event.type === "change" && event.target.type === "number";
  const arrow = event.type === "keyup" && event.target === range;
  const pointer = new PointerEvent("pointerup", { bubbles: true });
  if (range && (typed || arrow)) setTimeout(() => range.dispatchEvent(pointer));
};
document.addEventListener("change", release);
document.addEventListener("keyup", release);
// On a phone the stage lies above the controls: whoever chooses a picture there wants to see it.
const look = (event) => {
  const stage = document.querySelector("#stage");
  if (!event.target.closest("#upload input[type=file], #examples button") || stage.getBoundingClientRect().top > -200) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  stage.scrollIntoView({ behavior: calm ? "instant" : "smooth" });
};
document.addEventListener("change", look);
document.addEventListener("click", look);
document.addEventListener("click", (event) => {
  if (event.target.closest("#theme")) document.body.classList.toggle("dark");
  event.target.closest("[role=tab]")?.scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone they pass the edge
});

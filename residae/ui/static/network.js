// The diagram of the network, whose stages are buttons. tabs/model.py describes `props.value`.
let pressed;
const mark = () => element.querySelectorAll(".stage").forEach((stage) => stage.setAttribute("aria-pressed", String(stage.dataset.stage === pressed)));
function press(event) {
  const stage = event.target.closest(".stage");
  if (!stage) return;
  pressed = stage.dataset.stage;
  mark(); // in both drawings, of which one is shown
  trigger("select", { index: Number(stage.dataset.stage), value: stage.ariaLabel });
  const answer = document.querySelector("#stage-card");
  if (answer.getBoundingClientRect().top > innerHeight - 160) answer.scrollIntoView({ block: "nearest" }); // where nothing of it is seen
}
element.addEventListener("click", press);
element.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault(); // a space would scroll the page
  press(event);
});
const draw = () => {
  element.querySelector(".drawings").innerHTML = props.value || "";
  pressed ??= element.querySelector(".stage.latent")?.dataset.stage; // which the tab shows at first
  mark(); // the same stage of another network
};
watch("value", draw);
draw();

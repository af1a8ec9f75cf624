// The error at a glance: its map, or its histogram. maps.py describes `props.value`.
const map = element.querySelector(".map"), image = map.querySelector("img"), histogram = element.querySelector(".histogram");
const kinds = [...element.querySelectorAll(".kinds button")];
let round = 0;

async function draw() {
  if (!props.value) return;
  const { picture, key, histogram: chart } = props.value, current = ++round;
  await outdated(map, Object.assign(new Image(), { src: picture.url }).decode());
  if (current !== round) return; // a newer map is loading
  image.src = picture.url;
  histogram.innerHTML = chart;
  element.querySelector(".key").innerHTML = key;
  map.disabled = false;
}

kinds.forEach((pressed, i) => {
  pressed.onclick = () => {
    for (const kind of kinds) kind.ariaPressed = String(kind === pressed);
    histogram.hidden = i === 0;
  };
});
map.onclick = () => {
  const viewer = document.querySelector("#compare");
  [...viewer.querySelectorAll(".views button")].find((view) => view.textContent === "Error")?.click();
  viewer.scrollIntoView({ block: "nearest" });
};
watch("value", draw);
draw();

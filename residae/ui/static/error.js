// The error map at a glance. maps.py describes `props.value`.
const map = element.querySelector(".map"), image = map.firstChild, caption = element.querySelector(".caption");
let round = 0;

async function draw() {
  if (!props.value) return;
  const { picture, key } = props.value, current = ++round;
  await Object.assign(new Image(), { src: picture.url }).decode();
  if (current !== round) return; // a newer map is loading
  image.src = picture.url;
  element.querySelector(".key").innerHTML = key;
  caption.textContent = "gray levels · press to enlarge";
  map.disabled = false;
}

map.onclick = () => {
  const viewer = document.querySelector("#compare");
  [...viewer.querySelectorAll(".views button")].find((view) => view.textContent === "Error")?.click();
  viewer.scrollIntoView({ block: "nearest" });
};
watch("value", draw);
draw();

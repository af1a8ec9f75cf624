// A few channels of what a stage returns. tabs/model.py describes `props.value`.
const tiles = element.querySelector(".tiles");
let round = 0;
async function draw() {
  const { title, caption, sentence, tiles: shown, size } = props.value || {};
  if (!shown) return;
  const current = ++round;
  const images = shown.map(({ picture, alt }) => make("img", { src: picture.url, alt }));
  await Promise.allSettled(images.map((image) => image.decode()));
  if (current !== round) return; // another stage was pressed
  element.querySelector("h2").textContent = title;
  element.querySelector(".caption").textContent = caption;
  element.querySelector(".note").textContent = sentence;
  tiles.classList.toggle("plain", shown.length === 1);
  tiles.style.setProperty("--shape", size.join(" / "));
  tiles.replaceChildren(...images.map((image, i) => make("figure", {}, image, make("figcaption", { textContent: shown[i].name }))));
}
watch("value", draw);
draw();

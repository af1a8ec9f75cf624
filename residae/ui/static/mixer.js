// The latent's mixing desk: a strip for each channel. `props.value` is { strips: [{ picture, share }], take }.
const make = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
const desk = element.querySelector(".strips");
let strips = [], take = null;

function gains() {
  const solo = strips.some((s) => s.solo.ariaPressed === "true");
  return strips.map((s) => s.mute.ariaPressed === "true" || (solo && s.solo.ariaPressed !== "true") ? 0 : Number(s.gain.value));
}

function told() {
  const now = gains();
  strips.forEach((s, i) => {
    s.root.classList.toggle("silent", now[i] === 0);
    s.level.textContent = `×${Number(s.gain.value).toFixed(2)}`;
  });
  trigger("input", { gains: now });
}

function strip(number) {
  const image = make("img", { alt: "" }), share = make("span", { className: "share" });
  const look = make("button", { type: "button", className: "look", onclick: () => trigger("select", { index: number - 1 }) }, image);
  const toggle = (letter, word) => {
    const button = make("button", { type: "button", textContent: letter, ariaPressed: "false", ariaLabel: `${word} channel ${number}` });
    button.onclick = () => { button.ariaPressed = String(button.ariaPressed !== "true"); told(); };
    return button;
  };
  const mute = toggle("M", "Mute"), solo = toggle("S", "Solo"), level = make("span", { className: "level", textContent: "×1.00" });
  const gain = make("input", { type: "range", min: 0, max: 2, step: 0.05, value: 1, ariaLabel: `Scale channel ${number}` });
  gain.oninput = () => { level.textContent = `×${Number(gain.value).toFixed(2)}`; };
  gain.onchange = told;
  gain.ondblclick = () => { gain.value = 1; told(); };
  const root = make("div", { className: "strip", role: "group", ariaLabel: `Channel ${number}` },
    look, make("div", { className: "name" }, make("b", { textContent: number }), share),
    make("div", { className: "buttons" }, mute, solo), gain, level);
  return { root, image, share, look, mute, solo, gain, level };
}

function draw() {
  const { strips: given = [], take: now } = props.value || {};
  if (strips.length !== given.length) {
    strips = given.map((_, i) => strip(i + 1));
    desk.replaceChildren(...strips.map((s) => s.root));
  }
  given.forEach((one, i) => {
    const s = strips[i], words = one.share === null ? "" : one.share < 0.005 ? "<1 %" : `${Math.round(100 * one.share)} %`;
    s.image.src = one.picture.url;
    s.share.textContent = words;
    s.look.ariaLabel = `Look at channel ${i + 1}${words ? `, ${words} of the bits` : ""}`;
    s.root.style.setProperty("--share", one.share ?? 0);
  });
  if (now && now !== take) strips.forEach((s) => { // reset; 0 leaves all as it is
    s.mute.ariaPressed = s.solo.ariaPressed = "false";
    s.gain.value = 1;
    s.level.textContent = "×1.00";
    s.root.classList.remove("silent");
  });
  take = now || take;
}
watch("value", draw);
draw();

// The mixer: a strip for each latent channel. `props.value` is { strips: [{ own, common, share }], reset }; MAX_GAIN is
// what a channel is scaled by at most.
const mixer = element.querySelector(".strips"), oneScale = element.querySelector(".scale input");
let strips = [], lastReset = null, enlarged = 0;

/** Mark the strip of the channel that the lab shows enlarged. */
function mark(index = enlarged) {
  enlarged = index;
  strips.forEach((s, i) => { s.look.ariaCurrent = String(i === Math.min(index, strips.length - 1)); });
}
document.addEventListener("residae-channel", (event) => mark(event.detail)); // from mosaic.js

function gains() {
  const solo = strips.some((s) => s.solo.ariaPressed === "true");
  return strips.map((s) => s.mute.ariaPressed === "true" || (solo && s.solo.ariaPressed !== "true") ? 0 : Number(s.gain.value));
}

residae.gains = gains; // lab.py asks for those of now when it can send them

function sendGains() {
  const now = gains();
  strips.forEach((s, i) => {
    s.root.classList.toggle("silent", now[i] === 0);
    s.showGain();
  });
  trigger("input");
}

function strip(number) {
  const image = make("img", { alt: "" }), share = make("span", { className: "share" });
  const look = make("button", { type: "button", className: "look" }, image);
  look.onclick = () => {
    trigger("select", { index: number - 1 });
    mark(number - 1);
    const channel = document.querySelector("#channel"), isCovered = getComputedStyle(document.querySelector("#edited")).position === "sticky";
    channel.scrollIntoView({ block: isCovered ? "start" : "nearest" }); // right below the picture, where that stays in the window
  };
  const toggle = (letter, action) => {
    const button = make("button", { type: "button", textContent: letter, ariaPressed: "false", ariaLabel: `${action} channel ${number}` });
    button.onclick = () => { button.ariaPressed = String(button.ariaPressed !== "true"); sendGains(); };
    return button;
  };
  const mute = toggle("M", "Mute"), solo = toggle("S", "Solo"), level = make("span", { className: "level" });
  const gain = make("input", { type: "range", min: 0, max: MAX_GAIN, step: 0.05, value: 1, ariaLabel: `Scale channel ${number}` });
  const showGain = () => {
    level.textContent = `×${Number(gain.value).toFixed(2)}`;
    gain.style.setProperty("--range_progress", `${100 * gain.value / gain.max}%`);
  };
  gain.oninput = showGain;
  gain.onchange = sendGains;
  gain.ondblclick = () => { gain.value = 1; sendGains(); };
  const root = make("div", { className: "strip", role: "group", ariaLabel: `Channel ${number}` },
    look, make("div", { className: "name" }, make("b", { textContent: number }), share),
    make("div", { className: "buttons" }, mute, solo), gain, level);
  showGain();
  return { root, image, share, look, mute, solo, gain, showGain };
}

function draw() {
  const expected = document.querySelectorAll("#mosaic .tile").length || 16; // so that nothing moves when they come
  const { strips: given = Array(expected).fill(null), reset } = props.value || {};
  mixer.inert = !props.value;
  if (strips.length !== given.length) {
    strips = given.map((_, i) => strip(i + 1));
    mixer.replaceChildren(...strips.map((s) => s.root));
    mark();
  }
  if (props.value) given.forEach((one, i) => {
    const s = strips[i], share = one.share === null ? "" : percent(one.share);
    s.image.src = (oneScale.checked ? one.common : one.own).url;
    s.share.textContent = share;
    s.look.ariaLabel = `Enlarge channel ${i + 1}${share ? `, ${share} of the bits` : ""}`;
    s.root.style.setProperty("--share", one.share ?? 0);
  });
  if (reset && reset !== lastReset) strips.forEach((s) => {
    s.mute.ariaPressed = s.solo.ariaPressed = "false";
    s.gain.value = 1;
    s.showGain();
    s.root.classList.remove("silent");
  });
  lastReset = reset || lastReset;
}
oneScale.onchange = draw;
watch("value", draw);
draw();

// The guided start: five steps on the page itself. It opens by itself once, and again by "Tour" in the heading.
{
  const SEEN = "residae-tour-seen"; // in localStorage
  const STEPS = [
    ["#compare .surface", "Before and after", "Left of the divider is the original, right of it the reconstruction. Drag the divider; hold the picture or Space to see the original alone."],
    ["#journey", "What is left", "The samples of the picture, the numbers that the encoder makes of them, and the bytes of the file: three counts as bars on one scale."],
    ["#figures", "What it costs", "How close the reconstruction is, and how large its file. Touch a name or point at it to read what it means. All figures follow the quality or the size of the file that you choose."],
    ["#mosaic", "What the decoder gets", "The channels of the latent, with the share of the bits that each takes below it. Press one to change it in the Latent lab."],
    ["#error", "What is lost", "The error of each pixel, in gray levels. Press the map to see it large."],
  ];
  const GAP = 12; // CSS pixels
  let step = -1, card, ring, before = null, begun = 0; // where the page was scrolled to

  const target = () => document.querySelector(STEPS[step][0]);
  const button = (className, text, onclick) => make("button", { className, type: "button", onclick }, text);

  function build() {
    ring = make("div", { className: "tour-ring" });
    card = make("div", { className: "tour" }, make("h2"), make("p"),
      make("div", { className: "tour-foot" }, make("span", { className: "tour-count" }), button("skip", "Skip", finish), button("back", "Back", () => show(step - 1)), button("next", "Next", next)));
    card.setAttribute("role", "dialog");
    card.setAttribute("aria-label", "Tour");
    card.setAttribute("aria-live", "polite");
    ring.ariaHidden = "true";
    for (const node of [ring, card]) node.popover = "manual";
    (document.querySelector(".gradio-container") || document.body).append(ring, card);
  }

  function place() {
    const box = step >= 0 && target()?.getBoundingClientRect();
    if (!box) return;
    Object.assign(ring.style, { left: `${box.left - 4}px`, top: `${box.top - 4}px`, width: `${box.width + 8}px`, height: `${box.height + 8}px` });
    const { offsetWidth: wide, offsetHeight: high } = card, { innerWidth, innerHeight } = window;
    const keep = (at, most) => Math.max(GAP, Math.min(at, most - GAP));
    const places = [ // right, left, below, above, and where nothing has room, over its lower end
      [box.right + GAP, box.top], [box.left - wide - GAP, box.top], [box.left, box.bottom + GAP], [box.left, box.top - high - GAP],
      [box.left + GAP, Math.min(box.bottom, innerHeight) - high - GAP],
    ];
    const fits = ([x, y]) => x >= 0 && x + wide <= innerWidth && y + high >= 0 && y + high <= innerHeight;
    const [x, y] = places.slice(0, 4).find(fits) || places[4];
    Object.assign(card.style, { left: `${keep(x, innerWidth - wide)}px`, top: `${keep(y, innerHeight - high)}px` });
  }

  function show(wanted, forward = wanted >= step) {
    while (STEPS[wanted] && !document.querySelector(STEPS[wanted][0])?.getClientRects().length) wanted += forward ? 1 : -1;
    if (!STEPS[wanted]) return close();
    step = wanted;
    const [, title, text] = STEPS[step], box = target().getBoundingClientRect();
    card.children[0].textContent = title;
    card.children[1].textContent = text;
    card.querySelector(".tour-count").textContent = `${step + 1} of ${STEPS.length}`;
    card.querySelector(".back").disabled = step === 0;
    card.querySelector(".next").textContent = step === STEPS.length - 1 ? "Done" : "Next";
    for (const node of [ring, card]) if (!node.matches(":popover-open")) node.showPopover();
    if (box.top < 0 || box.bottom > innerHeight) target().scrollIntoView({ block: box.height > innerHeight / 2 ? "start" : "center" });
    place();
  }

  function next() {
    if (step === STEPS.length - 1) finish();
    else show(step + 1);
  }

  /** Close, and go back to where the steps began, which on a phone is far above. */
  function finish() {
    close();
    scrollTo({ top: begun });
  }

  function open(byHand) {
    if (!card) build();
    if (!residae.store(SEEN, "1") && !byHand) return; // without storage it would come each time
    before = byHand ? document.activeElement : null;
    begun = scrollY;
    if (byHand) document.querySelector("#tab-overview-button")?.click();
    requestAnimationFrame(() => {
      show(0, true);
      if (byHand && step >= 0) card.querySelector(".next").focus({ preventScroll: true });
    });
  }

  function close() {
    if (step < 0) return;
    step = -1;
    const hadFocus = card.contains(document.activeElement);
    for (const node of [ring, card]) node.hidePopover();
    if (hadFocus) (before?.isConnected ? before : document.querySelector("#tour"))?.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => { if (event.target.closest("#tour")) open(true); });
  document.addEventListener("click", (event) => { // by keyboard as well; by a script, the tour itself opens the Overview
    if (event.isTrusted && event.target.closest("[role=tab]")) close();
  });
  document.addEventListener("pointerdown", (event) => { if (step >= 0 && !card.contains(event.target)) close(); }, true);
  document.addEventListener("keydown", (event) => {
    if (step < 0 || event.key !== "Escape") return;
    event.stopPropagation();
    close();
  }, true);
  addEventListener("resize", place);
  document.addEventListener("scroll", place, { capture: true, passive: true });

  // By itself when the first result is there and the Overview is open, if it never was; without the focus, which may be elsewhere
  if (!residae.recall(SEEN)) new MutationObserver((_, results) => {
    if (!document.querySelector("#figures dd")) return;
    results.disconnect();
    new IntersectionObserver((entries, viewer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      viewer.disconnect();
      if (step < 0) open(false);
    }).observe(document.querySelector(STEPS[0][0]));
  }).observe(document, { childList: true, subtree: true });
}

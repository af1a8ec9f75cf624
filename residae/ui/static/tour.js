// The guided start: five steps on the page itself. It opens by itself once, and again by "Tour" in the heading.
{
  const SEEN = "residae-tour-seen"; // in localStorage
  // Where, the title, the text, and the text where a finger is the pointer, if that is another
  const SIDES = "Left of the divider is the original, right of it the reconstruction. Drag the divider";
  const FIGURES = ["How close the reconstruction is, and how large its file.", "All figures follow the quality or the size of the file that you choose."];
  const CHANNELS = ["The channels of the latent, with the share of the bits that each takes below it.", "one to change it in the Latent lab."];
  const STEPS = [
    ["#compare .surface", "Before and after", `${SIDES}; hold Space or the picture to see the original alone.`, `${SIDES}; touch and hold the picture to see the original alone.`],
    ["#journey", "What is left", "The samples of the picture, the numbers that the encoder makes of them, and the bytes of the file: three counts as bars on one scale."],
    ["#figures", "What it costs", FIGURES.join(" Point at a name to read what it means. "), FIGURES.join(" Tap a name to read what it means. ")],
    ["#mosaic", "What the decoder gets", CHANNELS.join(" Press "), CHANNELS.join(" Tap ")],
    ["#error", "What is lost", "The error of each pixel, in gray levels. Press the map to see it large.", "The error of each pixel, in gray levels. Tap the map to see it large."],
  ];
  const inOneColumn = matchMedia("(max-width: 860px)");
  const GAP = 12, RING = 4; // CSS pixels between what is explained and the card, and by which the ring is larger
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
    (document.querySelector(".gradio-container") || document.body).prepend(ring, card); // where Tab leads first
  }

  function place() {
    const box = step >= 0 && target()?.getBoundingClientRect();
    if (!box) return;
    const edges = [box.left - RING, box.top - RING, box.right + RING, box.bottom + RING].map(Math.round);
    move(ring, edges[0], edges[1]);
    Object.assign(ring.style, { width: `${edges[2] - edges[0]}px`, height: `${edges[3] - edges[1]}px` });
    const { offsetWidth: wide, offsetHeight: high } = card, { innerWidth, innerHeight } = window;
    const keep = (at, most, least = GAP) => Math.max(least, Math.min(at, most - least));
    const across = [edges[0], edges[2] - wide].map((x) => keep(x, innerWidth - wide, GAP - RING)), down = [box.top, box.bottom - high].map((y) => keep(y, innerHeight - high));
    const fits = ([x, y]) => x >= 0 && x + wide <= innerWidth && y >= 0 && y + high <= innerHeight;
    const places = [box.right + GAP, box.left - wide - GAP].flatMap((x) => down.map((y) => [x, y]))
      .concat([box.bottom + GAP, box.top - high - GAP].flatMap((y) => across.map((x) => [x, y]))).filter(fits);
    const inside = [keep(box.left + GAP, innerWidth - wide, GAP - RING), keep(Math.min(box.bottom, innerHeight) - high - GAP, innerHeight - high)]; // where nothing beside it has room
    const costs = places.map(([x, y]) => covered({ left: x, top: y, right: x + wide, bottom: y + high }));
    const [x, y] = places[costs.indexOf(Math.min(...costs))] ?? inside;
    move(card, Math.round(x), Math.round(y));
  }

  /** By a translation, which the browser does not count as layout shift; in whole pixels, or text and lines would blur. */
  function move(node, x, y) {
    node.style.translate = `${x}px ${y}px`;
  }

  /** How much a card at this place covers of what the tour explains: most of all of the picture, then of what comes next. */
  function covered(place) {
    return STEPS.reduce((sum, [selector], i) => {
      const box = document.querySelector(selector)?.getBoundingClientRect();
      if (!box || i === step) return sum;
      const side = (from, to) => Math.max(0, Math.min(place[to], box[to]) - Math.max(place[from], box[from]));
      return sum + side("left", "right") * side("top", "bottom") * (i === 0 ? 4 : i === step + 1 ? 3 : 1);
    }, 0);
  }

  function show(wanted, forward = wanted >= step) {
    while (STEPS[wanted] && !document.querySelector(STEPS[wanted][0])?.getClientRects().length) wanted += forward ? 1 : -1;
    if (!STEPS[wanted]) return close();
    step = wanted;
    const [, title, text, touched] = STEPS[step], box = target().getBoundingClientRect(), isLast = step === STEPS.length - 1;
    card.children[0].textContent = title;
    card.children[1].textContent = (byFinger() && touched) || text;
    card.querySelector(".tour-count").textContent = `${step + 1} of ${STEPS.length}`;
    card.querySelector(".back").disabled = step === 0;
    card.querySelector(".skip").disabled = isLast;
    if (document.activeElement?.disabled) card.querySelector(".next").focus({ preventScroll: true });
    card.querySelector(".next").textContent = isLast ? "Done" : "Next";
    for (const node of [ring, card]) if (!node.matches(":popover-open")) node.showPopover();
    const stuck = Number.parseFloat(getComputedStyle(target()).scrollMarginTop); // where the picture stays over the page
    const below = inOneColumn.matches && step > 0 ? card.offsetHeight + 2 * GAP : 0; // for the card, so that it covers no picture
    if (box.top < stuck || box.bottom + below > innerHeight) target().scrollIntoView({ block: "start" });
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

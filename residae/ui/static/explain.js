// An explanation of each figure, while its name has the focus or the pointer, or after a touch. Those that depend on the
// result come with it, as `explained` of text.py has them.
{
  const TEXTS = {
    PSNR: "Peak signal-to-noise ratio: the root-mean-square error on a logarithmic scale. More is better; 6 dB more means half the error.",
    SSIM: "Structural similarity: how alike patterns are in small windows. 1 for equal pictures.",
    "MS-SSIM": "SSIM at five sizes of the picture, combined. 1 for equal pictures.",
    SSIMULACRA2: "A measure made to agree with people: 90 is visually lossless, 70 high, 50 medium and 10 very low quality.",
    Rate: "Bits of the whole file for each pixel of the picture.",
    "Raw pixels": "How many times smaller the file is than the pixels without compression: 3 bytes each in color, 1 in gray.",
    "Source file": "How many times smaller the file is than the file that was opened.",
    Picture: "Width and height of the reconstruction, in pixels.",
    "Encode · decode": "Time in the network, without waiting for others; refining a file is part of encoding it. Settings that were tried before take none: the page keeps up to 256 MB of results for all visitors together.",
    Codec: "Each codec makes the best picture that it can in no more bytes than our file has.",
    Bytes: "Size of the whole file, with its header.",
    File: "Size of the whole file, with its header.",
    Quality: "How finely the latent was rounded, 0 to 100.",
    Planes: "Bytes of luma, and in color of the two chroma planes of half its width and height.",
    Checkpoint: "The weights and tables that wrote the file.",
    Name: "Name of the picture’s file.",
    Width: "Width of the picture in the file, in pixels.",
    Height: "Height of the picture in the file, in pixels.",
    Encode: "Time that encoding took in the network, in seconds.",
    Decode: "Time that decoding took in the network, in seconds.",
    "Numbers kept": "Numbers of the latent for each sample of luma or chroma. For the larger shares the picture is enlarged before the encoder, by a factor that is called its scale, which takes more bytes. Auto lets the file size decide.",
    Parameters: "Numbers that the network learned.",
    "Work at 256 × 256 px": "Operations of the encoder and the decoder for a picture of this size, in billions.",
    Device: "Where the network runs here, and in which precision.",
    "Fewer numbers": "Samples of a plane for each number of its latent. How many bytes these take is another matter.",
    Fingerprint: "Identifies the weights and tables. A file opens only with those that made it.",
  };
  let tip, shown = null;
  const NAMES = "[data-explanation], .numbers dt, table.figures thead th, #scale [data-testid=block-info]";
  const named = (node) => node.closest?.(NAMES);
  const textOf = (name) => name.dataset.explanation ?? TEXTS[name.textContent.trim().replace(/, (s|dB|bpp|bytes)$/, "")];

  function show(name) {
    const text = textOf(name);
    if (!text || shown === name) return;
    hide();
    if (!tip) {
      tip = make("div", { id: "explanation", role: "tooltip", popover: "manual" });
      (document.querySelector("main") || document.querySelector(".gradio-container") || document.body).append(tip);
    }
    shown = name;
    tip.textContent = text;
    name.setAttribute("aria-describedby", "explanation");
    tip.showPopover();
    const box = name.getBoundingClientRect(), above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${above < 8 ? box.bottom + 8 : above}px`;
  }
  function hide() {
    if (!shown) return;
    shown.removeAttribute("aria-describedby");
    shown = null;
    tip.hidePopover();
  }
  for (const type of ["pointerover", "focusin", "click"]) document.addEventListener(type, (event) => {
    const name = named(event.target);
    if (name) show(name);
    else if (event.type !== "pointerover" || !tip?.contains(event.target)) if (!shown?.contains(document.activeElement)) hide();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // Names that have an explanation can be reached by Tab
  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (shown && !shown.isConnected) { shown = null; tip.hidePopover(); }
      for (const name of document.querySelectorAll(NAMES)) if (textOf(name) && name.tabIndex < 0) name.tabIndex = 0;
    });
  }).observe(document, { childList: true, subtree: true });
}

// Files that are dropped anywhere on the page, or pasted, go to the upload that suits them. None of over MAX_FILE_BYTES is taken.
{
  const isOpen = (tab) => document.querySelector(`#tab-${tab}-button[aria-selected="true"]`);
  const areRae = (files) => files.every((file) => file.name.toLowerCase().endsWith(".rae"));
  const destination = (files) => { // the upload, and the tab that shows what comes of it
    if (areRae(files)) return ["#rae", "files"];
    if (files.length > 1 || isOpen("batch")) return ["#batch", "batch"];
    return ["#upload"];
  };
  const take = async (files) => {
    if (!files.length) return;
    const [upload, tab] = destination(files);
    const input = await residae.find(`${upload} input[type=file]`, tab), transfer = new DataTransfer();
    files.forEach((file) => transfer.items.add(file));
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const PLACES = { upload: "#alert", rae: "#files-status", batch: "#batch-status", other: "#blend-alert" }; // for errors of each upload
  /** Say that files are too large for an upload, where its other errors are shown: Gradio would say it in a corner of the window. */
  const refuse = (upload, files, large) => {
    const limit = `larger than the limit of ${MAX_FILE_BYTES / 1e6}\u00a0MB`, names = new Intl.ListFormat("en").format(large.map(({ name }) => name));
    const textContent = files.length === 1 ? `The file is ${limit}: choose a smaller one.`
      : `No file was taken, for ${names} ${large.length === 1 ? "is" : "are"} ${limit}: choose the others alone.`;
    const detail = { place: PLACES[upload.id], sentence: make("p", { textContent }).innerHTML };
    document.dispatchEvent(new CustomEvent("residae-refused", { detail }));
  };
  // What is dropped or chosen at an upload of pictures that cannot take it goes where it can be taken
  for (const type of ["drop", "change"]) document.addEventListener(type, (event) => {
    const files = [...((event.dataTransfer ?? event.target).files ?? [])];
    const isHere = (uploads) => event.target.closest(uploads);
    const isElsewhere = areRae(files) ? isHere("#upload, #other, #batch") : files.length > 1 && isHere("#upload");
    const upload = isHere("#upload, #rae, #batch, #other"), large = files.filter(({ size }) => size > MAX_FILE_BYTES);
    if (!files.length || !(isElsewhere || (upload && large.length))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (type === "drop") event.target.dispatchEvent(new DragEvent("drop", { bubbles: true })); // without files: the drag is over
    else event.target.value = ""; // or the same file could not be chosen again
    if (isElsewhere) take(files);
    else refuse(upload, files, large);
  }, true);
  // A picture that is chosen, dropped or pasted is shown in the Overview, unless the open tab shows it as well
  for (const [type, place] of [["change", "#upload"], ["click", "#examples button"]]) document.addEventListener(type, (event) => {
    if (event.target.closest(place) && ["files", "batch", "model"].some(isOpen)) document.querySelector("#tab-overview-button").click();
  });
  let ending = null; // dragover comes several times a second; some time after the last one, the drag has left the page
  const showDrag = (over) => {
    clearTimeout(ending);
    document.body.classList.toggle("dropping", over);
    if (over) ending = setTimeout(showDrag, 400, false);
  };
  for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    showDrag(type === "dragover");
    if (event.defaultPrevented) return; // it is over an upload, which takes it
    event.preventDefault();
    if (type === "drop") take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
}

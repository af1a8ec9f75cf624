// Files that are dropped anywhere on the page, or pasted, go to the upload that suits them.
{
  const isOpen = (tab) => document.querySelector(`#tab-${tab}-button[aria-selected="true"]`);
  const destination = (files) => { // the upload, and the tab that shows what comes of it
    if (files.every((file) => file.name.toLowerCase().endsWith(".rae"))) return ["#rae", "files"];
    if (isOpen("batch")) return ["#batch", "batch"];
    return ["#upload"];
  };
  const take = async (files) => {
    if (!files.length) return;
    const [upload, tab] = destination(files);
    if (tab) document.querySelector(`#tab-${tab}-button`).click();
    let input;
    for (let tries = 0; !input && tries < 100; tries++) { // a tab is built when it is opened first
      input = document.querySelector(`${upload} input[type=file]`);
      if (!input) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const transfer = new DataTransfer();
    (input.multiple ? files : files.slice(0, 1)).forEach((file) => transfer.items.add(file));
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
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

// Shared by the scripts of the page, and of its own components.
const make = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
/** Whether a finger is the pointer, to which "Tap" is said in the place of "Press"; page.css does the same for text of the server. */
const byFinger = () => matchMedia("(pointer: coarse)").matches;
/** Names as a list with "or". */
const either = (names) => new Intl.ListFormat("en", { type: "disjunction" }).format(names);
const percent = (share) => share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`;
/** A function that shows a text in this node: for some seconds, or for 0 until there is another. */
const sayIn = (node) => {
  let timer = 0;
  return (text, seconds = 6) => {
    node.textContent = text;
    clearTimeout(timer);
    if (seconds) timer = setTimeout(() => { node.textContent = ""; }, 1000 * seconds);
  };
};
/** What the server sends for an address. It deletes results after a while, which is an error. */
async function blobOf(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} is no longer there`);
  return answer.blob();
}
/** Wait for what replaces the pictures in this node. If it takes a moment, they are marked, and dimmed: the figures beside them are newer. */
async function outdated(node, loading) {
  const isLatest = () => node.loading === loading;
  node.loading = loading;
  const timer = setTimeout(() => { if (isLatest()) node.dataset.outdated = ""; }, 150);
  try {
    return await loading;
  } finally {
    clearTimeout(timer);
    if (isLatest()) delete node.dataset.outdated;
  }
}

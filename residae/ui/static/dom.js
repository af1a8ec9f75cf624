// Shared by the scripts of the page's own components.
const make = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
const percent = (share) => share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`;

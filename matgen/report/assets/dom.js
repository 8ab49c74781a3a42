// Elements of the page. Texts are set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    const states = name.startsWith("aria-"); // these say "false", where others are left out
    if (value === null || value === undefined || (value === false && !states)) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else node.setAttribute(name, value === true && !states ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

let ids = 0;

export function freshId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}

// What can throw in a browser that forbids storage: then nothing is remembered.
export function remember(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    return;
  }
}

export function remembered(storage, key) {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

// Describes elements, and brings the document to what is described with as few changes as possible,
// so that focus, scroll positions and selections stay while the view is refreshed every second.
//
// Text is only ever set as text: nothing that comes from a document or the network becomes markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "text", "path", "rect", "line", "circle", "polyline"]);
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden"]);

/** An element: tag, attributes (`key` tells siblings apart, `on…` are handlers), children. */
export function h(tag, attrs, ...children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return { tag, attrs: attrs ?? {}, children: kept.map((child) => (typeof child === "object" ? child : String(child))) };
}

/** Make the children of `parent` what is described. */
export function patch(parent, ...children) {
  const wanted = h("", null, ...children).children;
  const keyed = new Map();
  for (const node of parent.childNodes) {
    if (node.hedgerowKey !== undefined) keyed.set(node.hedgerowKey, node);
  }
  let at = parent.firstChild;
  for (const one of wanted) {
    const node = reusable(one, at, keyed) ?? create(one);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
    update(node, one);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function reusable(one, at, keyed) {
  if (typeof one === "string") return at?.nodeType === Node.TEXT_NODE ? at : null;
  const { key } = one.attrs;
  const node = key === undefined ? at : keyed.get(key);
  return node?.hedgerowTag === one.tag && node.hedgerowKey === key ? node : null;
}

function create(one) {
  if (typeof one === "string") return document.createTextNode(one);
  const node = SVG_TAGS.has(one.tag)
    ? document.createElementNS(SVG, one.tag)
    : document.createElement(one.tag);
  node.hedgerowTag = one.tag;
  node.hedgerowKey = one.attrs.key;
  node.hedgerowAttrs = {};
  return node;
}

function update(node, one) {
  if (typeof one === "string") {
    if (node.data !== one) node.data = one;
    return;
  }
  patch(node, ...one.children); // first, since a select's value needs its options
  const before = node.hedgerowAttrs;
  for (const name of Object.keys(before)) {
    if (!(name in one.attrs)) unset(node, name);
  }
  for (const [name, value] of Object.entries(one.attrs)) {
    // A select keeps no value that it has no option for yet, and takes it when there is one.
    const is = one.tag === "select" && name === "value" ? node.value : before[name];
    if (is !== value) set(node, name, value);
  }
  node.hedgerowAttrs = one.attrs;
}

function set(node, name, value) {
  if (name === "key") return;
  if (name.startsWith("on") || PROPERTIES.has(name)) node[name] = value;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

function unset(node, name) {
  if (name.startsWith("on")) node[name] = null;
  else if (PROPERTIES.has(name)) node[name] = name === "value" ? "" : false;
  else node.removeAttribute(name);
}

/** Tell people who use a screen reader. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

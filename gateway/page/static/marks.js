// Highlights: texts of documents in which words are marked. They come as HTML, and are read as text, so
// that nothing of a document can become markup: the only tags are those around the words. Pure.

import { h } from "./dom.js";

const OPEN = "<em>"; // the gateway's default for `pre` and `post`
const TAGS = /<em>|<\/em>/;
const ENTITIES = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&amp;": "&" };

/** The parts of a snippet: texts, and whether each is marked. */
export function partsOf(snippet) {
  let isMarked = false;
  // The text between tags is escaped, so what looks like a tag is one.
  return snippet.split(/(<\/?em>)/).flatMap((part) => {
    if (TAGS.test(part)) {
      isMarked = part === OPEN;
      return [];
    }
    const text = part.replace(/&(?:lt|gt|quot|#x27|amp);/g, (one) => ENTITIES[one]);
    return text ? [{ text, isMarked }] : [];
  });
}

/** The text of a snippet without its marks. */
export const textOf = (snippet) => partsOf(snippet).map((one) => one.text).join("");

/** Snippets as what the page is made of. */
export function marked(snippets) {
  return snippets.map((snippet, at) => [
    at ? (snippet.startsWith("…") ? " " : " … ") : null,
    partsOf(snippet).map(({ text, isMarked }) => (isMarked ? h("mark", null, text) : text)),
  ]);
}

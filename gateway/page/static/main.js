// The frame of the page: which view is shown, the key, the colours.

import { hasKey, onKeyWanted, setKey } from "./api.js";
import { ask } from "./dialog.js";
import { clusterView } from "./cluster.js";
import { coverageView } from "./coverage.js";
import { h } from "./dom.js";
import { searchView } from "./search.js";

const VIEWS = { search: searchView, cluster: clusterView, coverage: coverageView };
const main = document.getElementById("main");
let shown = null;

function show() {
  const [, name, parameters = ""] = /^#?([^?]*)\??(.*)$/s.exec(location.hash);
  const view = name in VIEWS ? name : "search";
  if (shown?.name === view) {
    shown.stop.onHash?.(new URLSearchParams(parameters));
    return;
  }
  shown?.stop();
  main.replaceChildren();
  main.className = view;
  document.title = `${view[0].toUpperCase()}${view.slice(1)} – Hedgerow`;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown = { name: view, stop: VIEWS[view](main, new URLSearchParams(parameters)) };
}

// The key

const keyButton = document.getElementById("key");

async function askForKey(reason) {
  const text = await ask({
    title: "Key or token",
    body: [
      reason ? h("p", { class: "bad-text" }, reason) : null,
      h("p", null, "This gateway answers only with a key (gateway key create) or its token. It is "
        + "kept in this page's memory, and is gone when you close or reload the page."),
    ],
    input: "Key or token",
    confirm: "Use it",
  });
  if (!text) return false;
  setKey(text.trim());
  keyButton.textContent = "Forget key";
  return true;
}

let asking = null; // several requests may be refused at once; one dialog is enough
onKeyWanted((reason) => {
  asking ??= askForKey(reason).finally(() => { asking = null; });
  return asking;
});

keyButton.onclick = async () => {
  if (hasKey()) {
    setKey("");
    keyButton.textContent = "Key";
  } else if (!(await askForKey(""))) return;
  shown.stop();
  shown = null;
  show();
};

// The colours: as the system has them, unless chosen for as long as the page is open.

const themeButton = document.getElementById("theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : dark.matches;
}
function nameTheme() {
  themeButton.textContent = isDark() ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Use ${isDark() ? "light" : "dark"} colours`);
}
themeButton.onclick = () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
};
dark.addEventListener("change", nameTheme);
nameTheme();

document.querySelector(".skip").onclick = (event) => {
  event.preventDefault(); // the hash names the view
  main.focus();
};
addEventListener("hashchange", show);
show();

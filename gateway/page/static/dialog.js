// Questions that must be answered before something is done.

import { h, patch } from "./dom.js";

/**
 * Ask; resolves to the text of the input, to true, or to null if the question was dismissed.
 * `choices` are further buttons: the one that is pressed is what it resolves to.
 */
export function ask({ title, body, input, confirm, choices, isHarmful = false }) {
  const before = document.activeElement;
  const dialog = document.createElement("dialog");
  document.getElementById("dialogs").append(dialog);
  return new Promise((resolve) => {
    let answer = null;
    const end = (value) => { answer = value; dialog.close(); };
    const submit = (event) => {
      event.preventDefault();
      if (choices) return;
      end(input ? dialog.querySelector("input").value : true);
    };
    patch(dialog, h("form", { onsubmit: submit, "aria-labelledby": "dialog-title" },
      h("h2", { id: "dialog-title" }, title),
      h("div", { class: "dialog-body" }, body),
      input ? h("label", { class: "field" }, h("span", null, input),
        h("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true })) : null,
      h("div", { class: "dialog-end" },
        h("button", { type: "button", onclick: () => end(null) }, "Cancel"),
        choices?.map((choice) => h("button", {
          type: "button", class: choice.isHarmful ? "harmful" : "", disabled: Boolean(choice.disabled),
          onclick: () => end(choice.value),
        }, choice.text)),
        confirm ? h("button", { type: "submit", class: isHarmful ? "harmful" : "main" }, confirm) : null)));
    dialog.setAttribute("aria-labelledby", "dialog-title");
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(answer);
    }, { once: true });
    dialog.showModal();
  });
}

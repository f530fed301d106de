"use strict";
// Boxes and buttons of the page show, hide and zoom what Bokeh has drawn.
(() => {
  const marks = JSON.parse(document.getElementById("marks").textContent);

  const model = (id) => {
    for (const doc of Bokeh.documents) {
      const found = doc.get_model_by_id(id);
      if (found) return found;
    }
    return null;
  };

  const chosen = (result, kind) => new Set(
    [...document.querySelectorAll(`[data-result="${result}"] input[data-kind="${kind}"]:checked`)]
      .map((input) => Number(input.dataset.value)));

  const update = (result) => {
    const settings = chosen(result, "setting");
    const seeds = chosen(result, "seed");
    const switches = chosen(result, "switch");
    for (const mark of marks) {
      if (mark.result !== result) continue;
      const drawn = model(mark.model);
      if (!drawn) continue;
      drawn.visible = settings.has(mark.setting)
        && (mark.kind === "mean" || seeds.has(mark.seed))
        && (!mark.switch || switches.has(mark.switch));
    }
  };

  const zoom = (button) => {
    const result = button.closest("[data-result]").dataset.result;
    const [start, end] = JSON.parse(button.dataset.value);
    for (const doc of Bokeh.documents) {
      const range = doc.get_model_by_name(`${result}-updates`);
      if (range) range.setv({start, end});
    }
    for (const other of button.parentElement.querySelectorAll("button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  };

  const start = () => {
    document.addEventListener("change", (event) => {
      const result = event.target.closest("[data-result]");
      if (result) update(result.dataset.result);
    });
    for (const button of document.querySelectorAll('button[data-kind="zoom"]')) {
      button.addEventListener("click", () => zoom(button));
    }
    for (const result of new Set(marks.map((mark) => mark.result))) update(result);
    document.body.dataset.ready = "true";
  };

  // Bokeh draws when the page is loaded; wait until all of it is there.
  const wait = () => {
    const there = marks.every((mark) => model(mark.model));
    if (there) start(); else setTimeout(wait, 30);
  };
  wait();
})();

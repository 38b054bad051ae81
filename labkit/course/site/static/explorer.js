/* Explorers without a kernel: a slider for each control, and the picture that was made ahead for where they stand.
   What an explorer has is in its data-about: controls (label, options, start) and frames, {places of options: words}. */

"use strict";

function made(kind, attributes, ...inside) {
  const element = Object.assign(document.createElement(kind), attributes);
  element.append(...inside);
  return element;
}

/* A label, a slider with a button at either end, and what it stands at. */
function control({ label, options, start }, moved) {
  const slider = made("input", { type: "range", min: 0, max: options.length - 1, step: 1, value: start });
  const shown = made("output", {});
  const step = (by) => () => {
    slider.value = Number(slider.value) + by;
    moved();
  };
  const buttons = [["‹", "previous", -1], ["›", "next", 1]].map(([sign, name, by]) => {
    const button = made("button", { type: "button", textContent: sign, onclick: step(by) });
    button.setAttribute("aria-label", `${label}: ${name}`);
    return button;
  });
  slider.setAttribute("aria-label", label);
  slider.addEventListener("input", moved);
  return {
    row: made("div", { className: "control" }, made("span", { textContent: label }), buttons[0], slider, buttons[1], shown),
    place: () => Number(slider.value),
    set(place) {
      slider.value = place;
      shown.textContent = options[place];
      slider.setAttribute("aria-valuetext", options[place]);
      buttons[0].disabled = place === 0;
      buttons[1].disabled = place === options.length - 1;
    },
  };
}

function explorer(box) {
  const { controls, frames } = JSON.parse(box.dataset.about);
  const picture = box.querySelector("img");
  const words = made("p", { className: "words" });
  words.setAttribute("aria-live", "polite");
  const file = (key) => `${box.dataset.frames}/${key}.webp`;

  function show() {
    const places = all.map(({ place }) => place());
    while (!(places.join("-") in frames) && places.some((place) => place > 0)) {
      places[places.findLastIndex((place) => place > 0)] -= 1; /* where a later slider's end depends on an earlier one */
    }
    const key = places.join("-");
    all.forEach(({ set }, number) => set(places[number]));
    picture.src = file(key);
    picture.alt = words.textContent = frames[key];
  }

  const all = controls.map((about) => control(about, show));
  box.append(...all.map(({ row }) => row), words);
  show();
  const ahead = () => Object.keys(frames).forEach((key) => made("img", { src: file(key) }));
  box.addEventListener("pointerenter", ahead, { once: true });
  box.addEventListener("focusin", ahead, { once: true });
  if ("instead" in box.dataset) { /* it says all that the picture before it in the same cell says */
    box.closest(".cell_output")?.querySelectorAll("img").forEach((image) => {
      image.hidden = !box.contains(image);
    });
  }
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".explorer").forEach(explorer));

// Lessons: a question, a guess, then what came out.
"use strict";

/**
 * @typedef {object} Lesson
 * @property {string} title @property {string} question @property {string[]} choices
 * @property {number} right the choice that came out @property {string} answer @property {string} command
 */

/** @type {Lesson[]} */
const LESSONS = [];

/** @param {HTMLElement} root */
function showLessons(root) {
  if (!LESSONS.length) byId("lessons").hidden = true;
  root.append(...LESSONS.map(lessonOf));
}

/** @param {Lesson} lesson @param {number} index */
function lessonOf(lesson, index) {
  const result = element("div", { role: "status" });
  const buttons = lesson.choices.map((choice, i) => {
    const button = element("button", { type: "button" }, choice);
    button.addEventListener("click", () => {
      buttons.forEach((one) => one.classList.toggle("chosen", one === button));
      result.replaceChildren(
        element(
          "p",
          {},
          i === lesson.right ? "Yes. " : `Not so: it is "${lesson.choices[lesson.right]}". `,
          lesson.answer,
        ),
        element("p", { className: "note" }, "See for yourself:"),
        element("pre", { tabIndex: 0 }, element("code", {}, lesson.command)),
      );
    });
    return button;
  });
  return element(
    "details",
    {},
    element("summary", {}, `${index + 1}. ${lesson.title}`),
    element("p", {}, lesson.question),
    element("div", { className: "tools" }, ...buttons),
    result,
  );
}

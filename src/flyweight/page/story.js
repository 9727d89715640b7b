// How good the net is: its budget, its accuracy with the interval, other seeds, its training, what it misreads.
"use strict";

/** @param {HTMLElement} root @param {Subject[]} subjects @param {(image: Uint8Array, of: Net, label: string) => void} use */
function showStory(root, subjects, use) {
  root.className = subjects.length > 1 ? "nets two" : "nets";
  root.append(...subjects.map((subject) => storyOf(subject, subjects.length > 1, use)));
}

/** @param {Subject} subject @param {boolean} hasTitle @param {(image: Uint8Array, of: Net, label: string) => void} use */
function storyOf(subject, hasTitle, use) {
  const { about, net } = subject;
  const { story } = about;
  const misread = about.misread.length
    ? [
        element("h3", {}, "Test images that it misreads"),
        element(
          "p",
          { className: "note" },
          "The most confident mistakes first. Choose one to see what the net sees in it.",
        ),
        element(
          "div",
          { className: "grid" },
          ...about.misread.map((/** @type {any} */ one) =>
            tileOf(net, one.pixels, `${net.classes[one.label]} read as ${net.classes[one.predicted]}`, use),
          ),
        ),
      ]
    : [];
  return element(
    "div",
    {},
    ...(hasTitle ? [element("h3", {}, about.name)] : []),
    ...sentencesOf(about).map((text) => element("p", {}, text)),
    element("p", { className: "note" }, "The net in one line: ", element("code", {}, story.net)),
    ...(about.history.length > 1 ? [curves(about.history)] : []),
    ...(about.sureness.length ? [surenessTable(about.sureness)] : []),
    ...misread,
  );
}

/** @param {any} about @returns {string[]} */
function sentencesOf({ story, data, run, seed, licence, has_images: hasImages }) {
  const found = [];
  const limit = story.budget
    ? ` Its budget was ${grouped(story.budget)}, so ${percent(story.params / story.budget)} of it is used.`
    : "";
  found.push(
    `It has ${grouped(story.params)} learned numbers (parameters).${limit} One answer takes ${grouped(story.macs)} multiplications.`,
  );
  const test = story.splits.test;
  if (test)
    found.push(
      `On ${grouped(test.count)} test images that it never learned from, ${grouped(test.correct)} answers are right: ` +
        `${percent(test.accuracy, 2)}. The 95 % interval is ${percent(test.interval[0], 2)} to ${percent(test.interval[1], 2)}: ` +
        "other test images of the same kind would give other figures. The test images were " +
        `${story.test_openings === 1 ? "opened once" : `opened ${story.test_openings} times`}.`,
    );
  if (story.mean)
    found.push(
      `Trained ${story.mean.n} times from different random starts (seeds), it reached ` +
        `${story.seeds.map((/** @type {any} */ one) => percent(one.accuracy, 2)).join(", ")}: on average ` +
        `${percent(story.mean.mean, 2)}, with a 95 % interval of ${percent(story.mean.interval[0], 2)} to ` +
        `${percent(Math.min(1, story.mean.interval[1]), 2)}.`,
    );
  else found.push("It was trained from one random start (seed), so nobody knows how much luck is in the figure.");
  found.push(
    `It was trained on ${data} for ${story.epochs} ${story.epochs === 1 ? "epoch" : "epochs"} (run ${run}, seed ${seed}).` +
      (licence ? ` Licence of the images: ${licence}.` : "") +
      (hasImages ? "" : " Its images are not in this file."),
  );
  found.push("The figures are those of the net as it was trained. This page computes with whole numbers of 8 bits.");
  return found;
}

/** @param {{epoch: number, train: number, validation: number}[]} history */
function curves(history) {
  const [width, height, left, bottom] = [380, 240, 56, 28];
  const errors = history.flatMap((one) => [1 - one.train, 1 - one.validation]).filter((one) => one > 0);
  const high = Math.log10(Math.max(...errors, 1e-4));
  const low = Math.log10(Math.min(...errors, 0.9));
  const x = (/** @type {number} */ i) => left + (i * (width - left - 90)) / Math.max(1, history.length - 1);
  const y = (/** @type {number} */ error) =>
    10 + ((high - Math.log10(Math.max(error, 10 ** low))) / Math.max(0.01, high - low)) * (height - bottom - 20);
  const line = (
    /** @type {"train" | "validation"} */ name,
    /** @type {string} */ dash,
    /** @type {number} */ lower,
  ) => [
    drawing("polyline", {
      points: history.map((one, i) => `${x(i)},${y(1 - one[name])}`).join(" "),
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 2,
      "stroke-dasharray": dash,
    }),
    drawing(
      "text",
      { x: x(history.length - 1) + 6, y: y(1 - history[history.length - 1][name]) + lower },
      name === "train" ? "training" : "validation",
    ),
  ];
  const [isAbove] = [history[history.length - 1].train < history[history.length - 1].validation];
  const ticks = [high, low].map((power) =>
    drawing("text", { x: 0, y: y(10 ** power) + 4 }, percent(10 ** power, 10 ** power < 0.01 ? 2 : 1)),
  );
  const ends = [0, history.length - 1].map((i) =>
    drawing("text", { x: x(i) - 4, y: height - 6 }, String(history[i].epoch)),
  );
  const lastWord = history[history.length - 1];
  const label =
    `Errors by epoch, from ${percent(1 - history[0].validation)} to ${percent(1 - lastWord.validation, 2)} of the ` +
    "validation images";
  return element(
    "figure",
    {},
    drawing(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
      ...ticks,
      ...ends,
      ...line("train", "5 4", isAbove ? -2 : 10),
      ...line("validation", "", isAbove ? 10 : -2),
      drawing("text", { x: left + 60, y: height - 6 }, "epoch"),
    ),
    element("p", { className: "note" }, "Share of images read wrongly after each epoch; lower is better."),
  );
}

/** @param {Sureness[]} sureness */
function surenessTable(sureness) {
  const rows = sureness
    .filter((one) => one.count)
    .map((one) => [
      `${percent(one.from)} to ${percent(one.to)}`,
      grouped(one.count),
      grouped(one.correct),
      percent(one.correct / one.count),
    ]);
  return element(
    "div",
    {},
    element("h3", {}, "When it says that it is sure"),
    tableOf("How often answers were right, by how sure they were", [["sure", "answers", "right", "share"], ...rows]),
  );
}

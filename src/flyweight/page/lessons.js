// Lessons: a question, a guess, then what came out.
"use strict";

/**
 * @typedef {object} Lesson
 * @property {string} title @property {string} question @property {string[]} choices
 * @property {number} right the choice that came out
 * @property {string} answer its figures stand in the `source`, with their runs
 * @property {string} source of flyweight's documentation @property {string} command makes it again
 */

/** @type {Lesson[]} */
const LESSONS = [
  {
    title: "Steps that are too long",
    question:
      "While a net learns, each step changes its numbers a little. How long the step is, the learning rate says. Somebody " +
      "typed 10.01 where 0.01 is usual. What happened?",
    choices: ["It learned faster", "It learned, but worse", "It broke"],
    right: 2,
    answer:
      "Tried three times, 3 of 3 diverged: each step jumps far past the goal, the next one jumps back even further, and soon " +
      "the numbers are too large to be numbers.",
    source: "docs/journeys/000.md",
    command: "flyweight journey run 000",
  },
  {
    title: "Sum or mean",
    question:
      "The error of 512 images can be added up or averaged. Somebody added, with the learning rate that is right for the " +
      "mean. How good was the net after one epoch? (Guessing gives 10 %.)",
    choices: ["About 10 %", "About 50 %", "About 90 %"],
    right: 0,
    answer:
      "Of three seeds, one diverged, and two reached 9.58 %, which is guessing: the sum makes every step 512 times as long. " +
      "With the mean, and nothing else changed, it was 89.69 % (89.34–90.05, n=3).",
    source: "docs/journeys/000.md",
    command: "flyweight journey run 000",
  },
  {
    title: "Where to pool",
    question:
      "A max pool makes maps smaller. It was moved between the convolutions, and three nets were trained from different " +
      "random starts. Was that better?",
    choices: ["Better", "Worse", "Nobody can tell"],
    right: 2,
    answer:
      "The mean was 55.22 %, but the three nets are so far apart that the 95 % interval is (0.00–100.00, n=3). A figure " +
      "whose interval holds everything says nothing.",
    source: "docs/journeys/000.md",
    command: "flyweight journey run 000",
  },
  {
    title: "What batch norm did",
    question:
      "Batch norm keeps the numbers in each layer in a good range. A net without it had 99.10 %, so it misread 90 of 10,000 " +
      "images. How many mistakes were left with batch norm?",
    choices: ["About 90", "About 58", "About 9"],
    right: 1,
    answer:
      "It went from 99.10 % (98.90–99.27, n=1) to 99.42 % (99.25–99.55, n=1): about a third of the mistakes are gone. It is " +
      "one net each, and the intervals touch, so more seeds would be needed to be sure how much it was.",
    source: "docs/journeys/003.md",
    command: "flyweight journey run 003",
  },
  {
    title: "Dropout in a small net",
    question:
      "Dropout switches some values off while a net learns, so that it does not learn by heart. It was added to a net of " +
      "19,614 parameters. What came out?",
    choices: ["Clearly better", "Clearly worse", "No clear difference"],
    right: 2,
    answer:
      "Without it 99.30 % (99.12–99.45, n=1), with it 99.12 % (98.92–99.29, n=1). It looks worse, but the intervals overlap. " +
      "A net this small cannot learn much by heart, so there was little to win.",
    source: "docs/journeys/003.md",
    command: "flyweight journey run 003",
  },
  {
    title: "59 steps",
    question:
      "A net with 593,200 parameters saw all 60,000 images once, 1,024 at a time: that makes 59 steps. How many images did " +
      "it then read correctly?",
    choices: ["About 25 %", "About 90 %", "About 99 %"],
    right: 0,
    answer:
      "24.68 % (23.84–25.53, n=1). It is not too small, it has only had 59 steps, and short ones. A net with 24,566 " +
      "parameters and more steps reaches 99.40 % (99.36–99.43, n=10) in the same single pass over the images.",
    source: "docs/journeys/002.md",
    command: "flyweight journey run 002",
  },
  {
    title: "Convolutions of 1x1",
    question:
      "A layer turns 32 channels into 16. With a window of 3x3 it has 4,608 weights. How many has it with a window of 1x1?",
    choices: ["512", "1,536", "4,608"],
    right: 0,
    answer:
      "512, since 32 times 16 is 512, and 3x3 needs nine of each. A layer of 1x1 looks at one place only; it mixes channels " +
      "cheaply and leaves the looking around to others.",
    source: "docs/counting.md",
    command: 'flyweight show "c32nb c16/1nb gap flat fc10"',
  },
  {
    title: "Is the big last layer needed?",
    question:
      "A net had 130,864 parameters, most of them in its fully connected layers at the end. One of these was taken out, and " +
      "39,594 were left. What did that cost?",
    choices: ["Nothing that shows", "About 2 points", "About 10 points"],
    right: 0,
    answer:
      "Before 96.46 % (95.28–97.65, n=3), after 96.64 % (95.18–98.10, n=3). Seven of ten parameters did nothing that shows. " +
      "Global pooling goes further: it leaves one number for each channel before the last layer.",
    source: "docs/journeys/001.md",
    command: "flyweight journey run 001",
  },
  {
    title: "The test set that was the training set",
    question:
      "By mistake, a notebook measured its test accuracy on the images that it had learned from, and reported 95.39 %. On " +
      "the real test images, was the same net better or worse?",
    choices: ["Worse", "The same", "Better"],
    right: 2,
    answer:
      "Better: 96.51 % (95.35–97.67, n=3). The images it was measured on had been turned and cropped as for learning, which " +
      "makes them harder to read. A wrong measurement can err in either direction, so first ask what was measured.",
    source: "docs/journeys/002.md",
    command: "flyweight journey run 002",
  },
  {
    title: "The best of twenty looks",
    question:
      "A net was measured on the test images after each of 20 epochs, and the best figure was reported: 99.49 %. When the " +
      "training was repeated, how much lower was the figure when other images chose the epoch?",
    choices: ["About 0.04 points", "About 0.5 points", "About 2 points"],
    right: 0,
    answer:
      "The best of twenty looks was 99.47 %; the epoch that validation images chose has 99.43 % (99.26–99.56, n=1). That is " +
      "little, but it is as much as many improvements that people report.",
    source: "docs/journeys/003.md",
    command: "flyweight journey run 003",
  },
  {
    title: "One seed or ten",
    question:
      "Ten nets were trained with the same recipe. Only the random start and the order of the images differed. How far were " +
      "the best and the worst apart?",
    choices: ["Not at all", "0.10 points", "1 point"],
    right: 1,
    answer:
      "They reached 99.48 ± 0.03 % (n=10), from 99.43 to 99.53: 0.10 points apart. So a change that gains 0.05 points in one " +
      "run may be luck. Train several seeds before you believe it.",
    source: "README.md",
    command: "flyweight train own/20k-fast --seeds 10",
  },
  {
    title: "Where the budget goes",
    question:
      "A net of 593,200 parameters has four convolutions and two fully connected layers. How much of it is in its two " +
      "heaviest layers?",
    choices: ["About a third", "About half", "More than four fifths"],
    right: 2,
    answer:
      "The last convolution has 295,168 and the first fully connected layer 204,850: together 84 %. Make the wide layers at " +
      "the end narrower first; the others hardly count.",
    source: "docs/counting.md",
    command: "flyweight show 002-1a",
  },
];

/** @param {HTMLElement} root */
function showLessons(root) {
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
        element("p", { className: "note" }, `From ${lesson.source} of flyweight. To make it again:`),
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

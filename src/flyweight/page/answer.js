// What one net reads: its input, bars, how sure such answers have been, and what the picture lacks to be read.
"use strict";

/** @typedef {{from: number, to: number, count: number, correct: number}} Sureness */
/** @typedef {{threshold: number, alarms: number, count: number}} Unlike */
/**
 * @typedef {object} Subject one net of the page with what is known of it
 * @property {any} about the values of the page
 * @property {Net} net
 * @property {Set<string>} off channels that are switched off
 */
/** @typedef {{image: Uint8Array, parts: number, touchesEdge: boolean, notes: string[]}} Input */
/** @typedef {{input: Input, maps: Values[], scores: number[], probabilities: number[], order: number[]}} Reading */

const MAX_BARS = 10;
const OCCLUSION = 7;

/** @param {Subject} subject @param {Input} input @returns {Reading} */
function readInput(subject, input) {
  const maps = computeMaps(subject.net, input.image, subject.off);
  const scores = lastScores(subject.net, maps);
  const probabilities = probabilitiesOf(subject.net, scores);
  const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
  return { input, maps, scores, probabilities, order };
}

/** Why an answer is not to be trusted; empty if nothing speaks against it. @param {Subject} subject @param {Reading} reading */
function doubtOf(subject, reading) {
  const { about, net } = subject;
  if (about.is_handwriting && reading.input.parts > 1)
    return `I see ${reading.input.parts} separate things. The net can read only one at a time.`;
  const unlike = /** @type {Unlike | null} */ (about.unlike);
  if (unlike && energyOf(net, reading.scores) < unlike.threshold)
    return `This looks unlike the images that the net was trained on. (The same is said of ${percent(
      unlike.alarms / unlike.count,
    )} of ordinary images: ${unlike.alarms} of ${unlike.count} that were held out.)`;
  return reading.input.touchesEdge ? "It touches the edge, so a part of it may be missing." : "";
}

/** How often answers that were this sure were right. @param {Subject} subject @param {number} probability */
function recordOf(subject, probability) {
  const groups = /** @type {Sureness[]} */ (subject.about.sureness);
  const group = groups.find((one) => probability >= one.from && (probability < one.to || one.to === 1));
  if (!group || !group.count) return groups.length ? "No answer on the test images was as unsure as this." : "";
  return (
    `On the test images, ${grouped(group.count)} answers were ${percent(group.from)} to ${percent(group.to)} sure; ` +
    `${grouped(group.correct)} of them were right (${percent(group.correct / group.count)}).`
  );
}

/**
 * The card of one net's answers. @param {Subject} subject @param {boolean} hasTitle
 */
function makeAnswer(subject, hasTitle) {
  const { net, about } = subject;
  const { height, width, channels } = net.input;
  const seen = element("canvas", { role: "img", "aria-label": `The ${height} x ${width} pixels that the net gets` });
  const matters = element("canvas", { role: "img", "aria-label": "Which parts of the picture matter for the answer" });
  const read = element("p", { className: "read" });
  const runnerUp = element("p", {});
  const record = element("p", { className: "note" });
  const doubt = element("p", { className: "warning", hidden: true });
  const bars = element("ol", { className: "bars" });
  const names = net.classes.map(String);
  const rows = names.slice(0, MAX_BARS).map(() => {
    const row = { name: element("span"), fill: element("i"), number: element("span"), item: element("li") };
    row.item.append(row.name, element("div", { className: "bar" }, row.fill), row.number);
    bars.append(row.item);
    return row;
  });
  const card = element(
    "div",
    {},
    ...(hasTitle ? [element("h3", {}, about.name)] : []),
    read,
    doubt,
    bars,
    runnerUp,
    record,
    element(
      "div",
      { className: "pictures" },
      element("figure", {}, seen, element("figcaption", {}, `What the net gets: ${height} x ${width} pixels`)),
      element("figure", {}, matters, element("figcaption", {}, "Orange: without this part it is less sure")),
    ),
  );
  let task = 0;

  /** @param {Reading | null} reading @returns {string} what a screen reader says */
  function show(reading) {
    task++;
    const input = reading ? reading.input.image : new Uint8Array(height * width * channels);
    showImage(seen, input, height, width, channels);
    showImage(matters, input, height, width, channels);
    const order = reading ? (names.length > MAX_BARS ? reading.order : names.map((_, i) => i)) : names.map((_, i) => i);
    rows.forEach((row, i) => {
      const share = reading ? reading.probabilities[order[i]] : 0;
      row.name.textContent = names[order[i]];
      row.fill.style.width = `${100 * share}%`;
      row.number.textContent = reading ? percent(share) : "";
    });
    doubt.hidden = true;
    runnerUp.textContent = record.textContent = "";
    if (!reading) {
      read.textContent = "Nothing drawn yet.";
      return "Nothing drawn.";
    }
    const [first, second] = reading.order;
    const sure = reading.probabilities[first];
    doubt.textContent = doubtOf(subject, reading);
    doubt.hidden = !doubt.textContent;
    read.replaceChildren(
      doubt.hidden ? "It reads " : "If it must choose: ",
      element("strong", {}, names[first]),
      ` (${surely(sure)} sure)`,
    );
    if (names.length > 1)
      runnerUp.textContent = `Second choice: ${names[second]}, ${surely(reading.probabilities[second])}.`;
    record.textContent = recordOf(subject, sure);
    return `${doubt.hidden ? "" : `${doubt.textContent} `}${names[first]}, ${surely(sure)} sure. Second ${names[second]}.`;
  }

  /** Fills in which parts matter, a little at a time, so that drawing goes on. @param {Reading} reading */
  function fillIn(reading) {
    const mine = ++task;
    const first = reading.order[0];
    const most = reading.probabilities[first];
    const losses = new Float64Array(OCCLUSION * OCCLUSION);
    const ground = groundOf(reading.input.image, about.is_handwriting, channels);
    let at = 0;
    const step = () => {
      const until = performance.now() + 12;
      while (at < losses.length && performance.now() < until) {
        const image = occluded(net, reading.input.image, at, ground);
        losses[at++] = most - probabilitiesOf(net, scoresOf(net, image, subject.off))[first];
      }
      if (mine !== task) return;
      if (at < losses.length) setTimeout(step, 0);
      else showMatters(matters, reading.input.image, losses, net.input);
    };
    setTimeout(step, 0);
  }

  return { card, show, fillIn };
}

/** Black for handwriting, else the mean of each channel. @param {Uint8Array} image @param {boolean} isBlack @param {number} channels */
function groundOf(image, isBlack, channels) {
  const sums = new Array(channels).fill(0);
  if (!isBlack) image.forEach((value, at) => (sums[at % channels] += value));
  return sums.map((sum) => Math.round((sum * channels) / image.length));
}

/** The image without one of 7 x 7 parts. @param {Net} net @param {Uint8Array} image @param {number} part @param {number[]} ground */
function occluded(net, image, part, ground) {
  const { height, width, channels } = net.input;
  const found = Uint8Array.from(image);
  const { top, bottom, left, right } = partOf(part, height, width);
  for (let y = top; y < bottom; y++)
    for (let x = left; x < right; x++)
      for (let c = 0; c < channels; c++) found[(y * width + x) * channels + c] = ground[c];
  return found;
}

/** @param {number} part @param {number} height @param {number} width @returns {Area} */
function partOf(part, height, width) {
  const row = Math.floor(part / OCCLUSION);
  const column = part % OCCLUSION;
  return {
    top: Math.floor((row * height) / OCCLUSION),
    bottom: Math.floor(((row + 1) * height) / OCCLUSION),
    left: Math.floor((column * width) / OCCLUSION),
    right: Math.floor(((column + 1) * width) / OCCLUSION),
  };
}

/** @param {HTMLCanvasElement} canvas @param {Uint8Array} image @param {Float64Array} losses @param {Net["input"]} size */
function showMatters(canvas, image, losses, { height, width, channels }) {
  showImage(canvas, image, height, width, channels);
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const most = Math.max(0.01, ...losses);
  losses.forEach((loss, part) => {
    const { top, bottom, left, right } = partOf(part, height, width);
    pen.fillStyle = `rgba(255, 140, 0, ${(0.75 * Math.max(0, loss)) / most})`;
    pen.fillRect(left, top, right - left, bottom - top);
  });
}

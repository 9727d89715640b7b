// A picture made ready for the net, as flyweight.inference.prepare does it: same pixels in, same 28 x 28 out.
// Every step has the name that it has there. Numbers are float64, as in numpy; PIL keeps float32 between its passes.
"use strict";

/** @typedef {{width: number, height: number, values: Float64Array}} Grey 0 black to 255 white, row by row */
/** @typedef {{width: number, height: number, data: ArrayLike<number>}} Rgba four bytes a pixel, as a canvas gives it */
/**
 * @typedef {object} Prepared
 * @property {Uint8Array | null} image height x width values; null where nothing was found
 * @property {number} parts how many separate things were found
 * @property {boolean} touchesEdge
 * @property {string[]} notes
 */
/**
 * @typedef {object} Found the ink of a digit in a view that was shrunk by `scale`
 * @property {Grey} ink @property {Area} box @property {boolean} wasInverted @property {boolean} touchesEdge
 * @property {number} things @property {number} scale
 */

const WORKING_SIDE = 480;
const FINE_SIDE = 1600;
const SMALL_DIGIT = 160;
const MARGIN = 0.6;
const MIN_CONTRAST = 24;
const MIN_CONTRAST_SIGMAS = 5;
const MIN_PART = 0.08;
const MIN_THING = 0.5;
const MIN_GAP = 0.12;
const MIN_STROKE = 2;

/** Round half to even, as Python and numpy do. @param {number} value */
function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** @param {number} width @param {number} height @returns {Grey} */
function emptyGrey(width, height) {
  return { width, height, values: new Float64Array(width * height) };
}

/**
 * The digit on a picture as light on dark, in its box, with its centre of mass in the middle.
 * @param {Rgba} picture
 * @param {number} height of the net's input
 * @param {number} width of the net's input
 * @returns {Prepared}
 */
function prepareDigit(picture, height, width) {
  if (Math.min(picture.width, picture.height) < 5) return nothingFound();
  const ready = alreadyPrepared(picture, height, width);
  if (ready) return { image: ready, parts: 1, touchesEdge: false, notes: ["unchanged: already like MNIST"] };
  const drawing = drawingOn(greyOf(picture));
  if (!drawing) return nothingFound();
  const { ink, box, wasInverted } = drawing;
  const side = boxSide(height, width);
  const digit = thickened(cropped(ink, box.top, box.bottom, box.left, box.right), side);
  const image = framed(digit, height, width);
  const notes = [wasInverted ? "dark ink on light paper: inverted" : "light ink on a dark background"];
  return { image, parts: drawing.things, touchesEdge: drawing.touchesEdge, notes };
}

/** @returns {Prepared} */
function nothingFound() {
  return { image: null, parts: 0, touchesEdge: false, notes: ["nothing stands out from the background"] };
}

/** @param {number} height @param {number} width of the net's input */
function boxSide(height, width) {
  return Math.max(1, roundEven((20 / 28) * Math.min(height, width)));
}

/** What is drawn on a picture; a small digit is found again in the picture itself. @param {Grey} grey @returns {Found | null} */
function drawingOn(grey) {
  const found = foundOn(grey, WORKING_SIDE) || (isLarge(grey) ? foundOn(grey, FINE_SIDE) : null);
  if (!found || found.scale === 1) return found;
  const { top, bottom, left, right } = found.box;
  if (Math.max(bottom - top, right - left) >= SMALL_DIGIT) return found;
  const [y, x] = [Math.trunc(top * found.scale), Math.trunc(left * found.scale)];
  const [last, to] = [Math.ceil(bottom * found.scale), Math.ceil(right * found.scale)];
  const margin = roundEven(MARGIN * Math.max(last - y, to - x)) + 8;
  const around = cropped(
    grey,
    Math.max(0, y - margin),
    Math.min(grey.height, last + margin),
    Math.max(0, x - margin),
    Math.min(grey.width, to + margin),
  );
  const closer = foundOn(around, WORKING_SIDE);
  return closer ? { ...closer, touchesEdge: found.touchesEdge, things: Math.max(found.things, closer.things) } : found;
}

/** @param {Grey} grey */
function isLarge(grey) {
  return Math.max(grey.width, grey.height) > WORKING_SIDE;
}

/** @param {Grey} view @param {number} side @returns {Found | null} */
function foundOn(view, side) {
  const grey = shrink(view, side);
  const { ink, wasInverted } = inkOf(grey);
  const found = digitOf(ink, side === WORKING_SIDE ? Infinity : 0.8);
  if (!found) return null;
  const [top, bottom, left, right] = boundsOf(found.digit);
  const scale = Math.max(view.width, view.height) / Math.max(grey.width, grey.height);
  const touchesEdge = top === 0 || left === 0 || bottom === grey.height || right === grey.width;
  return { ink: found.digit, box: { top, bottom, left, right }, wasInverted, touchesEdge, things: found.things, scale };
}

/** Strokes of at least MIN_STROKE once the ink is scaled into its box; thin ones would become faint. @param {Grey} digit @param {number} side @returns {Grey} */
function thickened(digit, side) {
  const padded = padding(digit, 1);
  const distances = squaredDistances(padded.width, padded.height, (at) => padded.values[at] > 127);
  let sum = 0;
  let n = 0;
  for (let at = 0; at < distances.length; at++)
    if (distances[at] > 0) {
      sum += Math.sqrt(distances[at]);
      n++;
    }
  const width = n ? 4 * (sum / n - 0.5) : 0;
  const missing = (MIN_STROKE * Math.max(digit.width, digit.height)) / side - width;
  if (missing < 0.5) return digit;
  const reach = Math.ceil(missing / 2);
  const radius = (missing / 2 + 0.25) ** 2;
  const wide = padding(digit, reach);
  const found = emptyGrey(wide.width, wide.height);
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      if (dy * dy + dx * dx > radius) continue;
      for (let y = Math.max(0, -dy); y < Math.min(wide.height, wide.height - dy); y++)
        for (let x = Math.max(0, -dx); x < Math.min(wide.width, wide.width - dx); x++) {
          const value = wide.values[(y + dy) * wide.width + x + dx];
          if (value > found.values[y * wide.width + x]) found.values[y * wide.width + x] = value;
        }
    }
  return found;
}

/** @param {Grey} grey @param {number} border @returns {Grey} */
function padding(grey, border) {
  const found = emptyGrey(grey.width + 2 * border, grey.height + 2 * border);
  for (let y = 0; y < grey.height; y++)
    found.values.set(grey.values.subarray(y * grey.width, (y + 1) * grey.width), (y + border) * found.width + border);
  return found;
}

/**
 * The squared distance of each pixel for which `isFar` holds to the nearest other; exact (Meijster et al. 2000).
 * @param {number} width @param {number} height @param {(at: number) => boolean} isFar
 */
function squaredDistances(width, height, isFar) {
  const none = width + height;
  const down = new Int32Array(width * height);
  for (let x = 0; x < width; x++) {
    for (let y = 0, d = none; y < height; y++) down[y * width + x] = d = isFar(y * width + x) ? d + 1 : 0;
    for (let y = height - 1, d = none; y >= 0; y--) {
      d = down[y * width + x] === 0 ? 0 : d + 1;
      if (d < down[y * width + x]) down[y * width + x] = d;
    }
  }
  const found = new Float64Array(width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let best = down[y * width + x] ** 2;
      for (let step = 1; step * step < best; step++) {
        if (x >= step) best = Math.min(best, step * step + down[y * width + x - step] ** 2);
        if (x + step < width) best = Math.min(best, step * step + down[y * width + x + step] ** 2);
      }
      found[y * width + x] = best;
    }
  return found;
}

/** @typedef {{ground: number, fit: "stretch" | "pad" | "crop"}} SetReading how the pictures of an image set were read */

/**
 * A picture resized to the input of a net that is not of handwriting, bilinear, as data/pictures.py does; channels last.
 * @param {Rgba} picture @param {number} height @param {number} width @param {number} channels @param {SetReading} reading
 */
function resizeOnly(picture, height, width, channels, { ground, fit }) {
  const opaque = onGround(picture, ground);
  const planes = channels === 1 ? [luminance(opaque)] : [0, 1, 2].map((c) => opaque.data.filter((_, i) => i % 4 === c));
  const image = new Uint8Array(height * width * channels);
  planes.forEach((plane, channel) => {
    const small = fitted(Uint8Array.from(plane), picture.width, picture.height, width, height, fit);
    small.forEach((value, at) => (image[at * channels + channel] = value));
  });
  return image;
}

/** Transparent pixels are laid on the ground. @param {Rgba} picture @param {number} ground */
function onGround({ width, height, data }, ground) {
  const found = new Uint8Array(4 * width * height).fill(255);
  for (let at = 0; at < width * height; at++)
    for (let c = 0; c < 3; c++) {
      const alpha = data[4 * at + 3] / 255;
      found[4 * at + c] = Math.round(data[4 * at + c] * alpha + ground * (1 - alpha));
    }
  return { width, height, data: found };
}

/**
 * A plane squeezed, with bars, or cut to the size.
 * @param {Uint8Array} plane @param {number} fromWidth @param {number} fromHeight
 * @param {number} width @param {number} height @param {SetReading["fit"]} fit
 */
function fitted(plane, fromWidth, fromHeight, width, height, fit) {
  if (fit === "crop") {
    const scale = Math.min(fromWidth / width, fromHeight / height);
    const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
    const [left, top] = [Math.floor((fromWidth - w) / 2), Math.floor((fromHeight - h) / 2)];
    const cut = new Uint8Array(w * h);
    for (let y = 0; y < h; y++)
      cut.set(plane.subarray((top + y) * fromWidth + left, (top + y) * fromWidth + left + w), y * w);
    return bilinear(cut, w, h, width, height);
  }
  if (fit === "stretch") return bilinear(plane, fromWidth, fromHeight, width, height);
  const scale = Math.min(width / fromWidth, height / fromHeight);
  const [w, h] = [Math.max(1, roundEven(fromWidth * scale)), Math.max(1, roundEven(fromHeight * scale))];
  const small = bilinear(plane, fromWidth, fromHeight, w, h);
  const border = [];
  for (let x = 0; x < fromWidth; x++) border.push(plane[x], plane[(fromHeight - 1) * fromWidth + x]);
  for (let y = 0; y < fromHeight; y++) border.push(plane[y * fromWidth], plane[(y + 1) * fromWidth - 1]);
  const found = new Uint8Array(width * height).fill(median(Float64Array.from(border)));
  const [top, left] = [roundEven((height - h) / 2), roundEven((width - w) / 2)];
  for (let y = 0; y < h; y++) found.set(small.subarray(y * w, (y + 1) * w), (top + y) * width + left);
  return found;
}

const FIXED = 2 ** 22; // PIL resizes bytes with weights of 22 bits

/** @param {Uint8Array} plane @param {number} fromWidth @param {number} fromHeight @param {number} width @param {number} height */
function bilinear(plane, fromWidth, fromHeight, width, height) {
  const wide = width === fromWidth ? plane : bytesAlong(plane, fromHeight, fromWidth, fromWidth, 1, width, width, 1);
  return height === fromHeight ? wide : bytesAlong(wide, width, 1, fromHeight, width, height, 1, width);
}

/**
 * @param {Uint8Array} values @param {number} lines @param {number} lineStep @param {number} side @param {number} step
 * @param {number} newSide @param {number} newLineStep @param {number} newStep
 */
function bytesAlong(values, lines, lineStep, side, step, newSide, newLineStep, newStep) {
  const found = new Uint8Array(lines * newSide);
  for (let at = 0; at < newSide; at++) {
    const { first, weights } = weightsAt(at, side, newSide, bilinearFilter);
    const fixed = weights.map((weight) => Math.trunc(weight * FIXED + (weight < 0 ? -0.5 : 0.5)));
    for (let line = 0; line < lines; line++) {
      let total = FIXED / 2;
      for (let k = 0; k < fixed.length; k++) total += values[line * lineStep + (first + k) * step] * fixed[k];
      found[line * newLineStep + at * newStep] = Math.min(255, Math.max(0, Math.floor(total / FIXED)));
    }
  }
  return found;
}

/** @param {Rgba} picture @param {number} height @param {number} width @returns {Uint8Array | null} */
function alreadyPrepared(picture, height, width) {
  if (picture.width !== width || picture.height !== height) return null;
  const grey = Uint8Array.from(luminance(picture));
  for (let at = 0; at < grey.length; at++) if (picture.data[4 * at + 3] !== 255) return null;
  const border = [];
  for (let x = 0; x < width; x++) border.push(grey[x], grey[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) border.push(grey[y * width], grey[y * width + width - 1]);
  const ground = median(Float64Array.from(border));
  if (ground > 4 && ground < 251) return null;
  if (ground >= 251) grey.forEach((value, at) => (grey[at] = 255 - value));
  const [row, column] = centreOf({ width, height, values: Float64Array.from(grey) });
  const isCentred = Math.abs(row - height / 2) < 0.75 && Math.abs(column - width / 2) < 0.75;
  return isCentred && Math.max(...grey) >= 128 ? grey : null;
}

/** Luminance of each pixel in whole numbers, as PIL weighs the colours. @param {Rgba} picture */
function luminance({ width, height, data }) {
  const values = new Float64Array(width * height);
  for (let at = 0; at < values.length; at++)
    values[at] = (data[4 * at] * 19595 + data[4 * at + 1] * 38470 + data[4 * at + 2] * 7471 + 0x8000) >> 16;
  return values;
}

/** Luminance; transparent pixels become a background with contrast to the drawn ones. @param {Rgba} picture @returns {Grey} */
function greyOf(picture) {
  const { width, height, data } = picture;
  const values = luminance(picture);
  let drawn = 0;
  let alphas = 0;
  for (let at = 0; at < values.length; at++) {
    const alpha = data[4 * at + 3] / 255;
    drawn += values[at] * alpha;
    alphas += alpha;
  }
  if (alphas === values.length) return { width, height, values };
  const ground = alphas === 0 || drawn < 128 * alphas ? 255 : 0;
  for (let at = 0; at < values.length; at++) {
    const alpha = data[4 * at + 3] / 255;
    values[at] = values[at] * alpha + ground * (1 - alpha);
  }
  return { width, height, values };
}

/** @param {Grey} grey @param {number} longest @returns {Grey} */
function shrink(grey, longest) {
  const side = Math.max(grey.width, grey.height);
  if (side <= longest) return grey;
  const width = Math.max(1, roundEven((grey.width * longest) / side));
  return resized(grey, width, Math.max(1, roundEven((grey.height * longest) / side)), boxFilter);
}

/** @typedef {{support: number, weight: (x: number) => number}} Filter */

/** @type {Filter} */
const boxFilter = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
/** @type {Filter} */
const bilinearFilter = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };
/** @type {Filter} */
const bicubicFilter = {
  support: 2,
  weight: (x) => {
    const far = Math.abs(x);
    if (far < 1) return (1.5 * far - 2.5) * far * far + 1;
    return far < 2 ? (((far - 5) * far + 8) * far - 4) * -0.5 : 0;
  },
};

/** @param {Grey} grey @param {number} width @param {number} height @param {Filter} filter @returns {Grey} */
function resized(grey, width, height, filter) {
  const values = new Float64Array(new Float32Array(grey.values));
  const wide =
    width === grey.width ? values : resizedAlong(values, grey.height, grey.width, grey.width, 1, width, width, filter);
  if (height === grey.height) return { width, height, values: wide };
  return { width, height, values: resizedAlong(wide, width, 1, grey.height, width, height, 1, filter) };
}

/**
 * One pass: `lines` lines of `side` values become lines of `newSide` values.
 * @param {Float64Array} values
 * @param {number} lines
 * @param {number} lineStep from a line to the next
 * @param {number} side
 * @param {number} step from a value of a line to the next
 * @param {number} newSide
 * @param {number} newLineStep
 * @param {Filter} filter
 */
function resizedAlong(values, lines, lineStep, side, step, newSide, newLineStep, filter) {
  const found = new Float64Array(lines * newSide);
  const newStep = newLineStep === 1 ? lines : 1;
  for (let at = 0; at < newSide; at++) {
    const { first, weights } = weightsAt(at, side, newSide, filter);
    for (let line = 0; line < lines; line++) {
      let total = 0;
      for (let k = 0, from = line * lineStep + first * step; k < weights.length; k++, from += step)
        total += values[from] * weights[k];
      found[line * newLineStep + at * newStep] = Math.fround(total);
    }
  }
  return found;
}

/** Which values make a new one, and with which weights. @param {number} at @param {number} side @param {number} newSide @param {Filter} filter */
function weightsAt(at, side, newSide, filter) {
  const scale = side / newSide;
  const widened = Math.max(scale, 1);
  const centre = (at + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - filter.support * widened + 0.5));
  const last = Math.min(side, Math.trunc(centre + filter.support * widened + 0.5));
  const weights = [];
  let sum = 0;
  for (let from = first; from < last; from++) {
    const weight = filter.weight((from - centre + 0.5) * (1 / widened));
    weights.push(weight);
    sum += weight;
  }
  return { first, weights: weights.map((weight) => weight / sum) };
}

/** Contrast with the paper, and whether the ink is darker than the paper. @param {Grey} grey */
function inkOf(grey) {
  const paper = paperOf(grey);
  const { width, height } = grey;
  const ink = emptyGrey(width, height);
  let third = 0;
  for (let at = 0; at < paper.length; at++) {
    const rest = grey.values[at] - paper[at];
    ink.values[at] = rest;
    third += rest * rest * rest;
  }
  if (third >= 0) return { ink, wasInverted: false };
  for (let at = 0; at < paper.length; at++) ink.values[at] *= -255 / Math.max(paper[at], 32);
  return { ink, wasInverted: true };
}

/** Brightness of the paper at each pixel: a cubic surface, fitted until ink has no influence. @param {Grey} grey */
function paperOf(grey) {
  const small = resized(grey, Math.min(64, grey.width), Math.min(64, grey.height), boxFilter);
  const values = small.values;
  const isRim = rimOf(small.width, small.height);
  const onRim = values.filter((_, at) => isRim[at]);
  /** @type {Float64Array} */
  let surface = new Float64Array(values.length).fill(median(onRim));
  let weights = closeness(values, surface, isRim);
  weights.forEach((weight, at) => (weights[at] = weight * isRim[at]));
  for (let round = 0; round < 12; round++) {
    const used = round < 2 ? 3 : round < 6 ? 6 : 10;
    surface = surfaceOf(leastSquares(small, used, weights), small.width, small.height);
    const among = round < 1 ? weights.map((weight) => (weight > 0 ? 1 : 0)) : null;
    weights = closeness(values, surface, among);
  }
  const fit = surfaceOf(leastSquares(small, 10, weights), grey.width, grey.height);
  for (let at = 0; at < fit.length; at++) fit[at] = Math.min(255, Math.max(0, fit[at]));
  return fit;
}

/** 1 on an outer eighth of the picture. @param {number} width @param {number} height */
function rimOf(width, height) {
  const found = new Float64Array(width * height).fill(1);
  const down = Math.floor(height / 8);
  const across = Math.floor(width / 8);
  for (let y = down; y < height - down; y++) for (let x = across; x < width - across; x++) found[y * width + x] = 0;
  return found;
}

/**
 * Tukey's biweight: 1 on the surface, 0 beyond about five robust deviations.
 * @param {Float64Array} values @param {Float64Array} surface @param {Float64Array | null} among
 */
function closeness(values, surface, among) {
  const residuals = new Float64Array(values.length);
  for (let at = 0; at < values.length; at++) residuals[at] = values[at] - surface[at];
  const reach = 4.7 * Math.max(deviation(among ? residuals.filter((_, at) => among[at] > 0) : residuals), 1);
  for (let at = 0; at < values.length; at++) {
    const near = Math.max(0, 1 - (residuals[at] / reach) * (residuals[at] / reach));
    residuals[at] = near * near;
  }
  return residuals;
}

/** The scaled median absolute deviation. @param {Float64Array} values */
function deviation(values) {
  const middle = median(values);
  const far = new Float64Array(values.length);
  for (let at = 0; at < values.length; at++) far[at] = Math.abs(values[at] - middle);
  return 1.4826 * median(far);
}

/** The powers of x and y of the ten monomials up to degree 3, in the order in which they are fitted. */
const POWERS = [
  [0, 0],
  [1, 0],
  [0, 1],
  [2, 0],
  [1, 1],
  [0, 2],
  [3, 0],
  [2, 1],
  [1, 2],
  [0, 3],
];
const HIGHEST = 6; // power in a product of two of them

/** The centres of n pixels from -1 to 1. @param {number} n */
function coordinates(n) {
  return Float64Array.from({ length: n }, (_, i) => (i + 0.5) * (2 / n) - 1);
}

/** The surface at each pixel's centre: in a row it is a cubic of x. @param {number[]} solution @param {number} width @param {number} height */
function surfaceOf(solution, width, height) {
  const xs = coordinates(width);
  const ys = coordinates(height);
  const found = new Float64Array(width * height);
  for (let row = 0, at = 0; row < height; row++) {
    const cubic = [0, 0, 0, 0];
    solution.forEach((factor, term) => (cubic[POWERS[term][0]] += factor * ys[row] ** POWERS[term][1]));
    const [a, b, c, d] = cubic;
    for (let column = 0; column < width; column++, at++) {
      const x = xs[column];
      found[at] = a + x * (b + x * (c + x * d));
    }
  }
  return found;
}

/**
 * The factors of the first monomials that fit the values best. A sum over the pixels of x^i y^j is a sum over rows of
 * sums of x^i, so each row is read once.
 * @param {Grey} grey @param {number} used @param {Float64Array} weights
 */
function leastSquares(grey, used, weights) {
  const moments = momentsOf(grey, weights, null);
  const right = momentsOf(grey, weights, grey.values);
  const rows = Array.from({ length: used }, (_, i) => {
    const row = new Float64Array(used + 1);
    for (let j = 0; j < used; j++) row[j] = moments[POWERS[i][0] + POWERS[j][0]][POWERS[i][1] + POWERS[j][1]];
    row[i] += 1e-6;
    row[used] = right[POWERS[i][0]][POWERS[i][1]];
    return row;
  });
  return solved(rows);
}

/** Sums of weight x^i y^j, or of weight value x^i y^j. @param {Grey} grey @param {Float64Array} weights @param {Float64Array | null} values */
function momentsOf({ width, height }, weights, values) {
  const xs = coordinates(width);
  const ys = coordinates(height);
  const found = Array.from({ length: HIGHEST + 1 }, () => new Float64Array(HIGHEST + 1));
  for (let row = 0, at = 0; row < height; row++) {
    let [s0, s1, s2, s3, s4, s5, s6] = [0, 0, 0, 0, 0, 0, 0];
    for (let column = 0; column < width; column++, at++) {
      const x = xs[column];
      let term = values ? weights[at] * values[at] : weights[at];
      s0 += term;
      s1 += term *= x;
      s2 += term *= x;
      s3 += term *= x;
      s4 += term *= x;
      s5 += term *= x;
      s6 += term *= x;
    }
    [s0, s1, s2, s3, s4, s5, s6].forEach((sum, i) => {
      for (let j = 0, power = 1; j <= HIGHEST; j++, power *= ys[row]) found[i][j] += sum * power;
    });
  }
  return found;
}

/** Gaussian elimination; each row ends with its right side. @param {Float64Array[]} rows */
function solved(rows) {
  const n = rows.length;
  for (let i = 0; i < n; i++) {
    let best = i;
    for (let k = i + 1; k < n; k++) if (Math.abs(rows[k][i]) > Math.abs(rows[best][i])) best = k;
    [rows[i], rows[best]] = [rows[best], rows[i]];
    for (let k = i + 1; k < n; k++) {
      const factor = rows[k][i] / rows[i][i];
      for (let j = i; j <= n; j++) rows[k][j] -= factor * rows[i][j];
    }
  }
  const found = new Array(n).fill(0);
  for (let i = n - 1; i >= 0; i--) {
    let rest = rows[i][n];
    for (let j = i + 1; j < n; j++) rest -= rows[i][j] * found[j];
    found[i] = rest / rows[i][i];
  }
  return found;
}

/** The ink of the digit, 0 to 255, and 0 elsewhere; null where nothing stands out. @param {Grey} ink @param {number} maxBlur */
function digitOf(ink, maxBlur) {
  const smooth = smoothed(ink, maxBlur);
  const values = smooth.values;
  const noise = deviation(values);
  const threshold = Math.max(otsu(values), MIN_CONTRAST_SIGMAS * noise);
  const strong = above(values, threshold, null);
  const level = strong.length ? percentile(strong, 85) : 0;
  if (level < Math.max(MIN_CONTRAST, MIN_CONTRAST_SIGMAS * noise)) return null;
  const faintest = Math.min(Math.max(3.5 * noise, 0.06 * level), 0.5 * level);
  const { kept, things } = mainParts(smooth, faintest, level);
  const full = percentile(above(values, threshold, kept), 75);
  const digit = emptyGrey(ink.width, ink.height);
  for (let at = 0; at < values.length; at++)
    if (kept[at]) digit.values[at] = Math.min(255, Math.max(0, values[at] * (255 / full)));
  return { digit, things };
}

/** The values above a threshold. @param {Float64Array} values @param {number} threshold @param {Uint8Array | null} among */
function above(values, threshold, among) {
  const found = new Float64Array(values.length);
  let n = 0;
  for (let at = 0; at < values.length; at++)
    if (values[at] > threshold && (!among || among[at])) found[n++] = values[at];
  return found.subarray(0, n);
}

/** Smooth the noise of paper and sensor; small pictures stay as they are. @param {Grey} ink @param {number} maxBlur @returns {Grey} */
function smoothed(ink, maxBlur) {
  const { width, height } = ink;
  const radius = Math.min(width, height) / 250;
  if (radius < 0.4) return ink;
  const sigma = Math.min(radius, maxBlur);
  const reach = Math.trunc(3 * sigma + 0.5);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp((-0.5 * (i - reach) ** 2) / sigma ** 2));
  const sum = kernel.reduce((a, b) => a + b, 0);
  const shifted = new Float64Array(ink.values.length);
  for (let at = 0; at < shifted.length; at++)
    shifted[at] = Math.fround(Math.min(510, Math.max(0, ink.values[at] + 128)));
  const down = blurredAlong(shifted, kernel, sum, width, 1, height, width);
  const both = blurredAlong(down, kernel, sum, height, width, width, 1);
  for (let at = 0; at < both.length; at++) both[at] -= 128;
  return { width, height, values: both };
}

/**
 * @param {Float64Array} values @param {number[]} kernel @param {number} sum
 * @param {number} lines @param {number} lineStep @param {number} side @param {number} step
 */
function blurredAlong(values, kernel, sum, lines, lineStep, side, step) {
  const found = new Float64Array(values.length);
  const reach = (kernel.length - 1) / 2;
  const weights = kernel.map((weight) => weight / sum);
  const padded = new Float64Array(side + 2 * reach);
  for (let line = 0; line < lines; line++) {
    const start = line * lineStep;
    for (let at = 0; at < padded.length; at++)
      padded[at] = values[start + Math.min(side - 1, Math.max(0, at - reach)) * step];
    for (let at = 0; at < side; at++) {
      let total = padded[at + reach] * weights[reach];
      for (let k = 0; k < reach; k++) total += (padded[at + k] + padded[at + 2 * reach - k]) * weights[k];
      found[start + at * step] = total;
    }
  }
  return found;
}

/** The threshold between two groups of values with the largest variance between them. @param {Float64Array} values */
function otsu(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let at = 0; at < values.length; at++) {
    if (values[at] < low) low = values[at];
    if (values[at] > high) high = values[at];
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const bins = 256;
  const edges = Array.from({ length: bins + 1 }, (_, i) => (i === bins ? high : low + i * ((high - low) / bins)));
  const counts = new Float64Array(bins);
  for (let at = 0; at < values.length; at++) {
    const value = values[at];
    let bin = Math.min(bins - 1, Math.trunc(((value - low) / (high - low)) * bins));
    if (value < edges[bin]) bin--;
    else if (bin < bins - 1 && value >= edges[bin + 1]) bin++;
    counts[bin]++;
  }
  const middles = counts.map((_, i) => (edges[i] + edges[i + 1]) / 2);
  let total = 0;
  for (let i = 0; i < bins; i++) total += counts[i] * middles[i];
  let below = 0;
  let sum = 0;
  let best = -1;
  let found = 0;
  for (let i = 0; i < bins - 1; i++) {
    below += counts[i];
    sum += counts[i] * middles[i];
    const above = values.length - below;
    const apart = sum / Math.max(below, 1) - (total - sum) / Math.max(above, 1);
    const between = below * above * apart * apart;
    if (between > best) [best, found] = [between, edges[1 + i]];
  }
  return found;
}

/**
 * The connected parts that belong to the digit: with a strong stroke, and not too small; corners touch too.
 * @param {Grey} ink @param {number} faintest @param {number} level
 */
function mainParts(ink, faintest, level) {
  const { width, height, values } = ink;
  const labels = new Int32Array(values.length);
  /** @type {Part[]} */
  const parts = [{ mass: 0, isStrong: false, left: 0, right: 0, top: 0, bottom: 0 }];
  const waiting = [];
  for (let start = 0; start < values.length; start++) {
    if (labels[start] || values[start] <= faintest) continue;
    const part = { mass: 0, isStrong: false, left: width, right: -1, top: height, bottom: -1 };
    labels[start] = parts.length;
    waiting.push(start);
    while (waiting.length) {
      const at = /** @type {number} */ (waiting.pop());
      const y = Math.floor(at / width);
      const x = at - y * width;
      part.mass += values[at];
      part.isStrong ||= values[at] > 0.5 * level;
      part.left = Math.min(part.left, x);
      part.right = Math.max(part.right, x);
      part.top = Math.min(part.top, y);
      part.bottom = Math.max(part.bottom, y);
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++)
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const other = row * width + column;
          if (labels[other] || values[other] <= faintest) continue;
          labels[other] = parts.length;
          waiting.push(other);
        }
    }
    parts.push(part);
  }
  const most = Math.max(...parts.map((part) => (part.isStrong ? part.mass : 0)));
  const isKept = parts.map((part) => part.isStrong && part.mass >= MIN_PART * most);
  const kept = new Uint8Array(labels.length);
  for (let at = 0; at < labels.length; at++) if (isKept[labels[at]]) kept[at] = 1;
  return { kept, things: thingsOf(parts, isKept, labels, width, height) };
}

/** @typedef {{mass: number, isStrong: boolean, left: number, right: number, top: number, bottom: number}} Part inclusive */

/**
 * How many things the parts make: large ones that are apart from each other.
 * @param {Part[]} parts @param {boolean[]} isKept @param {Int32Array} labels @param {number} width @param {number} height
 */
function thingsOf(parts, isKept, labels, width, height) {
  const sides = parts.map((part, i) => (isKept[i] ? 1 + Math.max(part.right - part.left, part.bottom - part.top) : 0));
  const large = Math.max(...sides);
  const seeds = parts.map((_, i) => i).filter((i) => isKept[i] && sides[i] >= MIN_THING * large);
  if (seeds.length < 2) return seeds.length;
  let things = seeds.map((seed) => [seed]);
  for (const seed of seeds) {
    const distances = squaredDistances(width, height, (at) => labels[at] !== seed);
    const isNear = new Set();
    for (let at = 0; at < labels.length; at++) if (Math.sqrt(distances[at]) <= MIN_GAP * large) isNear.add(labels[at]);
    const near = things.filter((thing) => thing.some((one) => isNear.has(one)));
    things = [...things.filter((thing) => !near.includes(thing)), near.flat()];
  }
  return things.length;
}

/** Top, bottom, left, right of what is not 0; bottom and right are exclusive. @param {Grey} grey */
function boundsOf({ width, height, values }) {
  let [top, bottom, left, right] = [height, 0, width, 0];
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++)
      if (values[at] > 0) {
        top = Math.min(top, y);
        bottom = Math.max(bottom, y + 1);
        left = Math.min(left, x);
        right = Math.max(right, x + 1);
      }
  return [top, bottom, left, right];
}

/** @param {Grey} grey @param {number} top @param {number} bottom @param {number} left @param {number} right @returns {Grey} */
function cropped(grey, top, bottom, left, right) {
  const found = emptyGrey(right - left, bottom - top);
  for (let y = top; y < bottom; y++)
    found.values.set(grey.values.subarray(y * grey.width + left, y * grey.width + right), (y - top) * found.width);
  return found;
}

/** The digit scaled into its box, in a black frame with its centre of mass in the middle. @param {Grey} digit @param {number} height @param {number} width */
function framed(digit, height, width) {
  const side = boxSide(height, width);
  const scale = side / Math.max(digit.width, digit.height);
  const small = resized(
    digit,
    Math.max(1, roundEven(digit.width * scale)),
    Math.max(1, roundEven(digit.height * scale)),
    scale <= 1 ? boxFilter : bicubicFilter,
  );
  const [row, column] = centreOf(small);
  const place = (/** @type {number} */ at, /** @type {number} */ full, /** @type {number} */ part) =>
    Math.min(full - part, Math.max(0, Math.floor(full / 2 + 0.5 - at)));
  const top = place(row, height, small.height);
  const left = place(column, width, small.width);
  const image = new Uint8Array(height * width);
  for (let y = 0; y < small.height; y++)
    for (let x = 0; x < small.width; x++)
      image[(top + y) * width + left + x] = Math.min(255, Math.max(0, roundEven(small.values[y * small.width + x])));
  return image;
}

/** Row and column of the centre of mass; the middle of an image without mass. @param {Grey} grey */
function centreOf({ width, height, values }) {
  let [mass, rows, columns] = [0, 0, 0];
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const value = Math.max(0, values[at]);
      mass += value;
      rows += value * y;
      columns += value * x;
    }
  return mass ? [rows / mass, columns / mass] : [height / 2, width / 2];
}

/** @param {Float64Array} values */
function median(values) {
  const copy = Float64Array.from(values);
  const half = copy.length >> 1;
  const upper = nthSmallest(copy, half);
  if (copy.length % 2) return upper;
  let lower = -Infinity; // after the selection, all before it are no larger
  for (let at = 0; at < half; at++) if (copy[at] > lower) lower = copy[at];
  return (lower + upper) / 2;
}

/** Between the two nearest values, as numpy does by default. @param {Float64Array} values @param {number} percent */
function percentile(values, percent) {
  const place = (values.length - 1) * (percent / 100);
  const first = Math.floor(place);
  const copy = Float64Array.from(values);
  const low = nthSmallest(copy, first);
  if (first + 1 >= copy.length) return low;
  let high = Infinity;
  for (let at = first + 1; at < copy.length; at++) if (copy[at] < high) high = copy[at];
  const share = place - first;
  return share < 0.5 ? low + (high - low) * share : high - (high - low) * (1 - share);
}

/** Hoare's selection; the array is reordered around the result. @param {Float64Array} values @param {number} n */
function nthSmallest(values, n) {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let i = low;
    let j = high;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i <= j) {
        const swapped = values[i];
        values[i++] = values[j];
        values[j--] = swapped;
      }
    }
    if (n <= j) high = j;
    else if (n >= i) low = i;
    else break;
  }
  return values[n];
}

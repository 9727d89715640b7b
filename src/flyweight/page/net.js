// The integer net of docs/export.md: maps of bytes in order, then scores. The same integers as in Python, to the bit.
// Every sum fits 32 bits, so it is computed with `| 0`; every product is a whole number below 2^53, so it is exact.
"use strict";

/**
 * @typedef {object} Operation as in the file; docs/export.md has what each name means
 * @property {"conv" | "add" | "average" | "max" | "table" | "slopes"} kind
 * @property {string[]} layers
 * @property {number[]} inputs
 * @property {[number, number, number]} in_shape
 * @property {[number, number, number]} out_shape
 * @property {number} scale
 * @property {number} zero
 * @property {number[]} zeros
 * @property {boolean} scores
 * @property {[number, number]} kernel
 * @property {[number, number]} stride
 * @property {number} padding
 * @property {number} dilation
 * @property {number} groups
 * @property {[number, number]} pool
 * @property {[number, number]} pool_stride
 * @property {boolean} pool_last
 * @property {number[]} pads
 * @property {Int8Array} weights
 * @property {number[]} bias
 * @property {[number, number][]} rows
 * @property {[number, number][]} columns
 * @property {number[]} which
 * @property {number[]} [multipliers]
 * @property {number[]} [shifts]
 * @property {number[]} [table]
 */
/** @typedef {Uint8Array | Int32Array} Values height x width x channels, channels last */
/**
 * @typedef {object} Net
 * @property {{height: number, width: number, channels: number}} input
 * @property {string[]} classes
 * @property {number} score_scale
 * @property {number} last_zero
 * @property {Operation[]} operations
 */
/** @typedef {{top: number, bottom: number, left: number, right: number}} Area bottom and right are exclusive */

/** A net from the values of its file: weights become signed bytes. @param {any} values @returns {Net} */
function readNet(values) {
  if (values.format !== "flyweight-int8" || values.version !== 1) throw new Error("this page reads version 1");
  const operations = values.operations.map((/** @type {any} */ one) =>
    one.kind === "conv" ? { ...one, weights: Int8Array.from(bytesOf(one.weights), (byte) => (byte << 24) >> 24) } : one,
  );
  return { ...values, operations };
}

/** @param {string} base64 */
function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/**
 * All values of the net: the image first, then what each operation gives.
 * @param {Net} net
 * @param {Values} pixels
 * @param {Set<string>} [off] channels that are switched off, as "value:channel"
 * @returns {Values[]}
 */
function computeMaps(net, pixels, off) {
  const maps = [pixels];
  net.operations.forEach((one, index) => {
    const found = compute(
      one,
      one.inputs.map((input) => maps[input]),
    );
    if (off && off.size) switchOff(net, index + 1, found, off);
    maps.push(found);
  });
  return maps;
}

/** @param {Net} net @param {Values} pixels @param {Set<string>} [off] @returns {number[]} */
function scoresOf(net, pixels, off) {
  const maps = computeMaps(net, pixels, off);
  return lastScores(net, maps);
}

/** @param {Net} net @param {Values[]} maps @returns {number[]} */
function lastScores(net, maps) {
  return Array.from(maps[maps.length - 1], (value) => value - net.last_zero);
}

/** Scores as shares of 1. @param {Net} net @param {number[]} scores */
function probabilitiesOf(net, scores) {
  const most = Math.max(...scores);
  const found = scores.map((score) => Math.exp((score - most) * net.score_scale));
  const sum = found.reduce((a, b) => a + b, 0);
  return found.map((one) => one / sum);
}

/** The logarithm of the sum of e^logit: low where no class fits. @param {Net} net @param {number[]} scores */
function energyOf(net, scores) {
  const most = Math.max(...scores);
  return most * net.score_scale + Math.log(scores.reduce((a, one) => a + Math.exp((one - most) * net.score_scale), 0));
}

/** The integer that stands for 0 in a value, as the operation that reads it says. @param {Net} net @param {number} value */
function zeroOf(net, value) {
  const reader = net.operations.find((one) => one.inputs.includes(value));
  return reader ? reader.zeros[reader.inputs.indexOf(value)] : net.last_zero;
}

/** @param {Net} net @param {number} value @param {Values} map @param {Set<string>} off */
function switchOff(net, value, map, off) {
  const channels = net.operations[value - 1].out_shape[2];
  const zero = zeroOf(net, value);
  for (let channel = 0; channel < channels; channel++)
    if (off.has(`${value}:${channel}`)) for (let at = channel; at < map.length; at += channels) map[at] = zero;
}

/** @param {Operation} one @param {Values[]} inputs @returns {Values} */
function compute(one, inputs) {
  const [height, width, channels] = one.out_shape;
  const output = one.scores ? new Int32Array(height * width * channels) : new Uint8Array(height * width * channels);
  if (one.kind === "conv") convolve(one, inputs[0], output);
  else if (one.kind === "average" || one.kind === "max") pool(one, inputs[0], output);
  else pointwise(one, inputs, output);
  return output;
}

/**
 * floor(sum * multiplier / 2^shift + 1/2), plus the zero of the output; a map is cut to a byte and looked up.
 * @param {Operation} one @param {number} sum @param {number} multiplier @param {number} shift
 */
function finish(one, sum, multiplier, shift) {
  const unit = 2 ** shift;
  const product = sum * multiplier + unit / 2;
  if (one.scores) return Math.floor(product / unit);
  const value = Math.min(255, Math.max(0, Math.floor((product + one.zero * unit) / unit)));
  return one.table ? one.table[value] : value;
}

/** Each window is copied once, then multiplied with the weights of every output. @param {Operation} one @param {Values} input @param {Values} output */
function convolve(one, input, output) {
  const [rows, columns, outputs] = one.out_shape;
  const { multipliers = [], shifts = [], weights } = one;
  const few = one.in_shape[2] / one.groups;
  const perGroup = outputs / one.groups;
  const size = one.kernel[0] * one.kernel[1] * few;
  const window = new Int32Array(size);
  const best = new Float64Array(outputs);
  for (let row = 0, at = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, at += outputs) {
      best.fill(-Infinity);
      for (let y = 0; y < one.pool[0]; y++)
        for (let x = 0; x < one.pool[1]; x++)
          for (let group = 0; group < one.groups; group++) {
            copyWindow(one, input, row * one.pool_stride[0] + y, column * one.pool_stride[1] + x, group * few, window);
            for (let out = group * perGroup; out < (group + 1) * perGroup; out++) {
              let sum = one.bias[out] | 0;
              for (let k = 0, w = out * size; k < size; k++, w++) sum = (sum + weights[w] * window[k]) | 0;
              const value = one.pool_last ? finish(one, sum, multipliers[out], shifts[out]) : sum;
              if (value > best[out]) best[out] = value;
            }
          }
      for (let out = 0; out < outputs; out++)
        output[at + out] = one.pool_last ? best[out] : finish(one, best[out], multipliers[out], shifts[out]);
    }
}

/**
 * The values under a kernel, in the order of its weights; beyond the edge the pads.
 * @param {Operation} one @param {Values} input @param {number} row @param {number} column before the pool
 * @param {number} first channel @param {Int32Array} window
 */
function copyWindow(one, input, row, column, first, window) {
  const [height, width, channels] = one.in_shape;
  const few = channels / one.groups;
  let k = 0;
  for (let ky = 0; ky < one.kernel[0]; ky++) {
    const y = row * one.stride[0] - one.padding + ky * one.dilation;
    for (let kx = 0; kx < one.kernel[1]; kx++) {
      const x = column * one.stride[1] - one.padding + kx * one.dilation;
      const isInside = y >= 0 && y < height && x >= 0 && x < width;
      const from = (y * width + x) * channels + first;
      for (let c = 0; c < few; c++) window[k++] = isInside ? input[from + c] : one.pads[first + c];
    }
  }
}

/** @param {Operation} one @param {Values} input @param {Values} output */
function pool(one, input, output) {
  const { multipliers = [], shifts = [] } = one;
  const width = one.in_shape[1];
  const channels = one.in_shape[2];
  let at = 0;
  one.rows.forEach(([top, bottom], row) =>
    one.columns.forEach(([left, right], column) => {
      const size = (bottom - top) * (right - left);
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        let most = 0;
        for (let y = top; y < bottom; y++)
          for (let x = left; x < right; x++) {
            const value = input[(y * width + x) * channels + c];
            sum += value;
            if (value > most) most = value;
          }
        const which = one.kind === "max" ? 0 : one.which[row * one.columns.length + column];
        output[at++] =
          one.kind === "max" ? most : finish(one, sum - size * one.zeros[0], multipliers[which], shifts[which]);
      }
    }),
  );
}

/** @param {Operation} one @param {Values[]} inputs @param {Values} output */
function pointwise(one, inputs, output) {
  const { multipliers = [], shifts = [], table = [], zeros } = one;
  const channels = one.in_shape[2];
  const [first, second] = inputs;
  for (let at = 0; at < output.length; at++) {
    if (one.kind === "table") output[at] = table[first[at]];
    else if (one.kind === "add") {
      const sum = (first[at] - zeros[0]) * multipliers[0] + (second[at] - zeros[1]) * multipliers[1];
      output[at] = finish(one, sum, 1, shifts[0]);
    } else {
      const value = first[at] - zeros[0];
      output[at] = finish(one, value, multipliers[value >= 0 ? 0 : 1 + (at % channels)], shifts[0]);
    }
  }
}

/**
 * The part of the image that one pixel of a value depends on.
 * @param {Net} net @param {number} value @param {number} row @param {number} column @returns {Area}
 */
function receptiveField(net, value, row, column) {
  return areaBehind(net, value, { top: row, bottom: row + 1, left: column, right: column + 1 }, 0);
}

/** What an area of a value depends on in an earlier value. @param {Net} net @param {number} value @param {Area} area @param {number} until @returns {Area} */
function areaBehind(net, value, area, until) {
  if (value <= until) return area;
  const one = net.operations[value - 1];
  const before = inputArea(one, area);
  const areas = one.inputs.map((input) => areaBehind(net, input, reshaped(net, input, one, before), until));
  return areas.reduce((a, b) => ({
    top: Math.min(a.top, b.top),
    bottom: Math.max(a.bottom, b.bottom),
    left: Math.min(a.left, b.left),
    right: Math.max(a.right, b.right),
  }));
}

/** A flattened map is read whole. @param {Net} net @param {number} input @param {Operation} one @param {Area} area @returns {Area} */
function reshaped(net, input, one, area) {
  const [height, width] = shapeOf(net, input);
  const isSame = height === one.in_shape[0] && width === one.in_shape[1];
  return isSame ? area : { top: 0, bottom: height, left: 0, right: width };
}

/** Height, width and channels of a value. @param {Net} net @param {number} value @returns {[number, number, number]} */
function shapeOf(net, value) {
  const { height, width, channels } = net.input;
  return value ? net.operations[value - 1].out_shape : [height, width, channels];
}

/** @param {Operation} one @param {Area} area @returns {Area} */
function inputArea(one, area) {
  const [height, width] = one.in_shape;
  if (one.kind === "conv") {
    const [top, bottom] = reach(one, 0, area.top, area.bottom, height);
    const [left, right] = reach(one, 1, area.left, area.right, width);
    return { top, bottom, left, right };
  }
  if (one.kind === "average" || one.kind === "max")
    return {
      top: one.rows[area.top][0],
      bottom: one.rows[area.bottom - 1][1],
      left: one.columns[area.left][0],
      right: one.columns[area.right - 1][1],
    };
  return area;
}

/** @param {Operation} one @param {0 | 1} axis @param {number} from @param {number} to @param {number} side */
function reach(one, axis, from, to, side) {
  const first = from * one.pool_stride[axis] * one.stride[axis] - one.padding;
  const last = ((to - 1) * one.pool_stride[axis] + one.pool[axis] - 1) * one.stride[axis] - one.padding;
  return [Math.max(0, first), Math.min(side, last + (one.kernel[axis] - 1) * one.dilation + 1)];
}

/**
 * @typedef {object} Arithmetic how one number of a convolution was made
 * @property {number[]} window @property {number[]} weights @property {number} bias @property {number} sum
 * @property {number} products @property {number} multiplier @property {number} shift @property {number} result
 * @property {number} tried how many sums the max pool chose from
 * @property {number} row @property {number} column of the sum that it chose, before the pool
 */

/**
 * @param {Operation} one @param {Values} input @param {number} row @param {number} column @param {number} channel
 * @returns {Arithmetic}
 */
function arithmeticOf(one, input, row, column, channel) {
  const few = one.in_shape[2] / one.groups;
  const size = one.kernel[0] * one.kernel[1] * few;
  const first = Math.floor(channel / (one.out_shape[2] / one.groups)) * few;
  const weights = Array.from(one.weights.subarray(channel * size, (channel + 1) * size));
  const [multiplier, shift] = [(one.multipliers || [])[channel], (one.shifts || [])[channel]];
  /** @type {Arithmetic | null} */
  let best = null;
  const window = new Int32Array(size);
  for (let y = 0; y < one.pool[0]; y++)
    for (let x = 0; x < one.pool[1]; x++) {
      const at = [row * one.pool_stride[0] + y, column * one.pool_stride[1] + x];
      copyWindow(one, input, at[0], at[1], first, window);
      const products = weights.reduce((sum, weight, k) => sum + weight * window[k], 0);
      const sum = products + one.bias[channel];
      const result = finish(one, sum, multiplier, shift);
      if (best && (one.pool_last ? result <= best.result : sum <= best.sum)) continue;
      best = {
        window: Array.from(window),
        weights,
        bias: one.bias[channel],
        sum,
        products,
        multiplier,
        shift,
        result,
        tried: one.pool[0] * one.pool[1],
        row: at[0],
        column: at[1],
      };
    }
  return /** @type {Arithmetic} */ (best);
}

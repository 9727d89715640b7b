// The integer net of flyweight in JavaScript: the same scores as numpy and C, to the bit (docs/export.md).
// All sums fit 32 bits and all products are integers below 2^53, so plain numbers are exact.
"use strict";

// A net from its JSON values: weights from base64, arrays typed.
function flyweightNet(values) {
  if (values.format !== "flyweight-int8" || values.version !== 1) throw new Error("unknown format or version");
  const operations = values.operations.map((one) => Object.assign({}, one, {
    weights: one.weights === undefined ? null : Int8Array.from(atob(one.weights), (c) => c.charCodeAt(0)),
    halves: (one.shifts || []).map((shift) => 2 ** (shift - 1)),
    units: (one.shifts || []).map((shift) => 2 ** shift),
  }));
  return Object.assign({}, values, { operations });
}

// From pixels (height x width x channels, 0 to 255, channels last) to scores; maps: filled with every layer's output.
function flyweightScores(net, pixels, maps) {
  const values = [pixels];
  for (const one of net.operations) values.push(FLYWEIGHT[one.kind](one, one.inputs.map((input) => values[input])));
  if (maps) maps.push(...values.slice(1));
  return Array.from(values[values.length - 1], (value) => value - net.last_zero);
}

// Scores as probabilities.
function flyweightProbabilities(net, scores) {
  const most = Math.max(...scores);
  const found = scores.map((score) => Math.exp((score - most) * net.score_scale));
  const sum = found.reduce((a, b) => a + b, 0);
  return found.map((value) => value / sum);
}

function flyweightFinished(one, sum, multiplier, place) {
  const product = sum * multiplier + one.halves[place];
  if (one.scores) return Math.floor(product / one.units[place]);
  const value = Math.floor((product + one.zero * one.units[place]) / one.units[place]);
  const cut = value < 0 ? 0 : value > 255 ? 255 : value;
  return one.table ? one.table[cut] : cut;
}

function flyweightOutput(one) {
  const [height, width, channels] = one.out_shape;
  return new (one.scores ? Int32Array : Uint8Array)(height * width * channels);
}

const FLYWEIGHT = {
  conv(one, [input]) {
    const output = flyweightOutput(one), [height, width, inputs] = one.in_shape, [rows, columns, outputs] = one.out_shape;
    const [kh, kw] = one.kernel, [sh, sw] = one.stride, [ph, pw] = one.pool, [psh, psw] = one.pool_stride;
    const { weights, bias, multipliers, pads, padding, dilation, groups } = one, last = one.pool_last;
    const few = inputs / groups, perGroup = outputs / groups;
    // Where nothing leaves the map, a row of the window is one stretch of memory.
    const isRow = groups === 1 && dilation === 1 && padding === 0;
    const taps = isRow ? 1 : kw, run = isRow ? kw * inputs : few, size = kh * kw * few;
    let at = 0;
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++)
      for (let out = 0; out < outputs; out++) {
        const first = Math.floor(out / perGroup) * few;
        let best = -Infinity;
        for (let py = 0; py < ph; py++) for (let px = 0; px < pw; px++) {
          const top = (row * psh + py) * sh - padding, left = (column * psw + px) * sw - padding;
          let sum = bias[out], weight = out * size;
          for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < taps; kx++) {
            const y = top + ky * dilation, x = left + kx * dilation;
            if (padding && (y < 0 || y >= height || x < 0 || x >= width)) {
              for (let c = 0; c < run; c++) sum += weights[weight++] * pads[first + c];
            } else {
              let from = (y * width + x) * inputs + first;
              for (const end = weight + run; weight < end; weight++, from++) sum = (sum + weights[weight] * input[from]) | 0;
            }
          }
          if (last) sum = flyweightFinished(one, sum, multipliers[out], out);
          if (sum > best) best = sum;
        }
        output[at++] = last ? best : flyweightFinished(one, best, multipliers[out], out);
      }
    return output;
  },
  add(one, [first, second]) {
    const output = flyweightOutput(one);
    for (let at = 0; at < output.length; at++) {
      const sum = (first[at] - one.zeros[0]) * one.multipliers[0] + (second[at] - one.zeros[1]) * one.multipliers[1];
      output[at] = flyweightFinished(one, sum, 1, 0);
    }
    return output;
  },
  average(one, [input]) {
    return flyweightPooled(one, input, (a, b) => a + b, 0, (sum, count, place) => {
      const which = one.which[place];
      return flyweightFinished(one, sum - count * one.zeros[0], one.multipliers[which], which);
    });
  },
  max(one, [input]) {
    return flyweightPooled(one, input, (a, b) => (b > a ? b : a), 0, (value) => value);
  },
  table(one, [input]) {
    const output = flyweightOutput(one);
    for (let at = 0; at < output.length; at++) output[at] = one.table[input[at]];
    return output;
  },
  slopes(one, [input]) {
    const output = flyweightOutput(one), channels = one.in_shape[2];
    for (let at = 0; at < output.length; at++) {
      const value = input[at] - one.zeros[0];
      output[at] = flyweightFinished(one, value, one.multipliers[value >= 0 ? 0 : 1 + (at % channels)], 0);
    }
    return output;
  },
};

function flyweightPooled(one, input, combine, start, finish) {
  const output = flyweightOutput(one), width = one.in_shape[1], channels = one.in_shape[2];
  let at = 0, place = 0;
  for (const [top, bottom] of one.rows) for (const [left, right] of one.columns) {
    for (let c = 0; c < channels; c++) {
      let value = start;
      for (let y = top; y < bottom; y++) for (let x = left; x < right; x++)
        value = combine(value, input[(y * width + x) * channels + c]);
      output[at++] = finish(value, (bottom - top) * (right - left), place);
    }
    place++;
  }
  return output;
}

if (typeof module !== "undefined") module.exports = { flyweightNet, flyweightScores, flyweightProbabilities };

// Small parts that every section uses: elements, pictures of numbers, numbers as text.
"use strict";

/**
 * An element with properties and children; text is always text, never markup.
 * @param {string} name @param {Record<string, any>} [properties] @param {(Node | string)[]} children
 * @returns {any}
 */
function element(name, properties = {}, ...children) {
  const found = /** @type {any} */ (document.createElement(name));
  for (const [key, value] of Object.entries(properties))
    if (key in found) found[key] = value;
    else found.setAttribute(key, value);
  found.append(...children);
  return found;
}

/** @param {string} id @returns {any} */
function byId(id) {
  return document.getElementById(id);
}

/** @param {number} share @param {number} [digits] */
function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits)} %`;
}

/** Never shown as certain where it is not. @param {number} share */
function surely(share) {
  if (share > 0.999 && share < 1) return "over 99.9 %";
  return share < 0.001 && share > 0 ? "under 0.1 %" : percent(share);
}

/** @param {number} value */
function grouped(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** An image of the page's data: zeros are stored as their number. @param {string} text @param {number} size */
function unpacked(text, size) {
  const bytes = bytesOf(text);
  const found = new Uint8Array(size);
  for (let at = 0, k = 0; k < bytes.length; k++)
    if (bytes[k]) found[at++] = bytes[k];
    else at += bytes[++k];
  return found;
}

/**
 * An image on a canvas, a pixel a value. @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} values
 * @param {number} height @param {number} width @param {number} channels 1 or 3
 */
function showImage(canvas, values, height, width, channels) {
  canvas.width = width;
  canvas.height = height;
  const data = new ImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    for (let c = 0; c < 3; c++) data.data[4 * at + c] = values[at * channels + (channels >= 3 ? c : 0)];
    data.data[4 * at + 3] = 255;
  }
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(data, 0, 0);
}

/** @typedef {{columns: number, cell: number, height: number, width: number, scale: number, count: number}} Tiling */

/** How maps are laid out side by side. @param {number} height @param {number} width @param {number} count @returns {Tiling} */
function tilingOf(height, width, count) {
  const scale = Math.max(1, Math.floor(64 / Math.max(height, width)));
  const cell = Math.max(height, width) * scale + 4;
  return { columns: Math.max(1, Math.min(count, Math.floor(640 / cell))), cell, height, width, scale, count };
}

/**
 * All channels of a map side by side; `shade` gives the colour of a value.
 * @param {HTMLCanvasElement} canvas @param {Tiling} tiling
 * @param {(channel: number, row: number, column: number) => [number, number, number]} shade
 */
function showTiles(canvas, tiling, shade) {
  const { columns, cell, height, width, scale, count } = tiling;
  canvas.width = columns * cell;
  canvas.height = Math.ceil(count / columns) * cell;
  const data = new ImageData(canvas.width, canvas.height);
  for (let channel = 0; channel < count; channel++) {
    const left = (channel % columns) * cell;
    const top = Math.floor(channel / columns) * cell;
    for (let row = 0; row < height * scale; row++)
      for (let column = 0; column < width * scale; column++) {
        const colour = shade(channel, Math.floor(row / scale), Math.floor(column / scale));
        const at = 4 * ((top + row) * canvas.width + left + column);
        data.data.set(colour, at);
        data.data[at + 3] = 255;
      }
  }
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(data, 0, 0);
}

/** The channel, row and column under a pointer; null between the tiles. @param {HTMLCanvasElement} canvas @param {Tiling} tiling @param {MouseEvent} event */
function tileAt(canvas, tiling, event) {
  const box = canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) * canvas.width) / box.width;
  const y = ((event.clientY - box.top) * canvas.height) / box.height;
  const [across, down] = [Math.floor(x / tiling.cell), Math.floor(y / tiling.cell)];
  const column = Math.floor((x - across * tiling.cell) / tiling.scale);
  const row = Math.floor((y - down * tiling.cell) / tiling.scale);
  const channel = down * tiling.columns + across;
  const isInside = column >= 0 && row >= 0 && column < tiling.width && row < tiling.height;
  return isInside && channel < tiling.count && across < tiling.columns ? { channel, row, column } : null;
}

/** Blue below 0, orange above it, white at 0. @param {number} share -1 to 1 @returns {[number, number, number]} */
function twoSided(share) {
  const fade = Math.round(255 * (1 - Math.min(1, Math.abs(share))));
  return share < 0 ? [fade, fade, 255] : [255, Math.round(fade * 0.6 + 102), fade];
}

/** @param {string} name @param {Record<string, string | number>} attributes @param {(Node | string)[]} children */
function drawing(name, attributes, ...children) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, String(value));
  found.append(...children);
  return found;
}

/** A table from rows of text; the first row is its head. @param {string} caption @param {string[][]} rows */
function tableOf(caption, rows) {
  const [head, ...body] = rows;
  return element(
    "div",
    { className: "scroll", tabIndex: 0, role: "group", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", { className: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...body.map((row) => element("tr", {}, ...row.map((text) => element("td", {}, text))))),
    ),
  );
}

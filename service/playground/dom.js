// Makes elements and says things to screen readers. Text goes in as text, never as markup.

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element: properties by their DOM names, `data` and `aria` as groups, then children. */
export function el(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const button = (text, onclick, className = "quiet") =>
  el("button", { type: "button", className, onclick }, text);

/** Say something once to those who do not see the page change. */
export function announce(text) {
  $("#live").textContent = text;
}

/** 75 → "1 min 15 s"; a guess, so never more precise than it deserves. */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return whole < 600 && whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
}

export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

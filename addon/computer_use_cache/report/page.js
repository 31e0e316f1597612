"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  const steps = all("section.step"), cards = all("#film li"), bars = all(".bar span");
  const search = one("#search"), misses = one("#misses"), found = one("#found"), help = one("#help");
  const texts = steps.map((step) => step.textContent.toLowerCase());
  let now = -1, arrived = 0;

  document.documentElement.classList.add("js");

  // -- pictures: each is in the page once, as text, and becomes a file when it is first seen

  const files = new Map(), waiting = new Set();

  function bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const decoded = atob(text), found = new Uint8Array(decoded.length);
    for (let at = 0; at < found.length; at++) found[at] = decoded.charCodeAt(at);
    return found;
  }

  function file(digest) {
    const source = document.getElementById(`media-${digest}`);
    const isWhole = source && (source.nextSibling || document.readyState !== "loading");
    if (!files.has(digest) && isWhole) {
      const made = new Blob([bytes(source.textContent)], { type: source.dataset.type });
      files.set(digest, URL.createObjectURL(made));
      source.textContent = "";
    }
    return files.get(digest);
  }

  function show(image) {
    const url = file(image.dataset.media);
    if (url) { image.src = url; waiting.delete(image); } else waiting.add(image);
  }

  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); show(entry.target); }
  }, { rootMargin: "400px" });
  all("#film img").forEach((image) => watcher.observe(image));

  // The pictures are at the end of the file, so the first steps can be read while the rest is still being loaded.
  const loading = setInterval(() => {
    waiting.forEach(show);
    if (document.readyState !== "loading") clearInterval(loading);
  }, 100);
  addEventListener("beforeprint", () => {
    all("img[data-media]").forEach(show);
    all("details").forEach((details) => { details.open = true; });
  });

  // -- one step at a time

  function go(index, { quiet = false } = {}) {
    if (!steps[index] || index === now) return;
    now = index;
    const number = steps[index].dataset.step;
    steps.forEach((step, at) => step.classList.toggle("now", at === index));
    cards.forEach((card, at) => {
      const link = card.firstElementChild;
      if (at === index) link.setAttribute("aria-current", "step"); else link.removeAttribute("aria-current");
    });
    bars.forEach((bar) => bar.classList.toggle("now", bar.dataset.step === number));
    one("#detail").scrollTop = 0;
    cards[index].scrollIntoView({ block: "nearest", inline: "nearest" });
    clearTimeout(arrived);
    arrived = setTimeout(() => {
      all("img[data-media]", steps[index]).forEach(show);
      if (!quiet) history.replaceState(null, "", `#step-${number}`);
    }, 40); // a key that is held down goes past
    highlight();
  }

  function move(by) {
    for (let at = now + by; steps[at]; at += by) if (!cards[at].hidden) return go(at);
  }

  function goToHash() {
    const index = steps.findIndex((step) => `#${step.id}` === location.hash);
    go(Math.max(index, 0), { quiet: true });
  }

  all("#film a").forEach((link, at) => link.addEventListener("click", (event) => { event.preventDefault(); go(at); }));
  bars.forEach((bar) => bar.addEventListener("click", () => go(steps.findIndex((step) => step.dataset.step === bar.dataset.step))));
  addEventListener("hashchange", goToHash);

  // -- search and the filter

  function filter() {
    const wanted = search.value.trim().toLowerCase(), only = misses.getAttribute("aria-pressed") === "true";
    cards.forEach((card, at) => {
      card.hidden = (only && !("miss" in card.dataset)) || (wanted !== "" && !texts[at].includes(wanted));
    });
    const left = cards.filter((card) => !card.hidden);
    const numbers = new Set(left.map((card) => card.dataset.step));
    bars.forEach((bar) => bar.classList.toggle("dim", !numbers.has(bar.dataset.step)));
    found.textContent = left.length === cards.length ? "" : `${left.length} of ${cards.length} steps`;
    one("#film .nothing").hidden = left.length > 0 || cards.length === 0;
    if (left.length && cards[now]?.hidden) go(cards.indexOf(left[0]));
    highlight();
  }

  function highlight() {
    if (!window.Highlight || now < 0) return;
    const wanted = search.value.trim().toLowerCase(), ranges = [];
    const walker = document.createTreeWalker(steps[now], NodeFilter.SHOW_TEXT);
    while (wanted && walker.nextNode() && ranges.length < 500) {
      const node = walker.currentNode, text = node.data.toLowerCase();
      for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, Math.min(at + wanted.length, node.length));
        ranges.push(range);
      }
    }
    for (const range of ranges) {
      const folded = range.startContainer.parentElement.closest("details:not([open])");
      if (folded) folded.open = true;
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }

  function toggleMisses() {
    misses.setAttribute("aria-pressed", String(misses.getAttribute("aria-pressed") !== "true"));
    filter();
  }

  search.addEventListener("input", filter);
  misses.addEventListener("click", toggleMisses);
  one("#keys").addEventListener("click", () => help.showModal());

  // -- keys

  const keys = {
    j: () => move(1), ArrowRight: () => move(1), ArrowDown: () => move(1),
    k: () => move(-1), ArrowLeft: () => move(-1), ArrowUp: () => move(-1),
    m: toggleMisses, "/": () => search.focus(), "?": () => help.showModal(),
  };

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (event.target === search) {
      if (event.key === "Escape") { search.value = ""; search.blur(); filter(); }
      if (event.key === "Enter") search.blur();
    } else if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  goToHash();
})();

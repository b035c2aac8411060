// Draws the figures of a page, saves them, sorts its tables, and turns light into dark.
'use strict';

function patched(spec, patches) {
  const copy = structuredClone(spec);
  for (const [path, value] of patches) {
    let place = copy;
    for (const key of path.slice(0, -1)) place = place[key];
    place[path[path.length - 1]] = value;
  }
  return copy;
}

function save(address, name) {
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
}

// what is saved stands on white, whatever the page stands on
async function saveAs(view, name, ending) {
  if (ending === 'svg') {
    const text = (await view.toSVG()).replace('<svg ', '<svg style="background:white;color:black" ');
    save(URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' })), name + '.svg');
    return;
  }
  const before = view.background();
  view.background('white');
  save(await view.toImageURL('png', 2), name + '.png');
  await view.background(before).runAsync();
}

async function draw(figure) {
  const { spec, variants, name } = JSON.parse(figure.querySelector('.aam-spec').textContent);
  const place = figure.querySelector('.aam-chart'), choice = figure.querySelector('.aam-choice');
  let shown = null;
  const show = async () => {
    const patches = choice ? variants[Number(choice.value)].patches : [];
    if (shown) shown.finalize();
    shown = await vegaEmbed(place, patched(spec, patches), { actions: false, renderer: 'svg' });
  };
  if (choice) choice.addEventListener('change', show);
  for (const button of figure.querySelectorAll('[data-save]')) {
    button.addEventListener('click', () => saveAs(shown.view, name, button.dataset.save));
  }
  await show();
}

function sortBy(header) {
  const table = header.closest('table'), place = header.cellIndex, rows = table.tBodies[0].rows;
  const falls = header.getAttribute('aria-sort') === 'ascending';
  const value = (row) => row.cells[place].dataset.sort ?? row.cells[place].textContent;
  const numeric = header.classList.contains('aam-number');
  // what is missing comes last
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    const lacks = (text) => (numeric ? Number.isNaN(parseFloat(text)) : text === '');
    if (lacks(a) || lacks(b)) return lacks(a) - lacks(b);
    return (falls ? -1 : 1) * (numeric ? parseFloat(a) - parseFloat(b) : a.localeCompare(b));
  };
  table.tBodies[0].append(...[...rows].sort(compare));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
  header.setAttribute('aria-sort', falls ? 'descending' : 'ascending');
}

// a page that was opened as a file may have no clipboard: then the command is selected
async function copy(button) {
  const text = button.closest('.aam-command').querySelector('pre');
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = 'Copied';
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = 'Selected';
  }
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function turn() {
  const button = document.getElementById('aam-theme');
  const label = () => {
    button.textContent = isDark() ? 'Light' : 'Dark';
    button.setAttribute('aria-pressed', String(isDark()));
  };
  button.addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    label();
  });
  label();
}

async function start() {
  document.documentElement.lang = 'en';
  turn();
  for (const button of document.querySelectorAll('.aam-sort')) {
    button.addEventListener('click', () => sortBy(button.closest('th')));
  }
  for (const button of document.querySelectorAll('.aam-copy')) button.addEventListener('click', () => copy(button));
  for (const figure of document.querySelectorAll('.aam-figure')) await draw(figure);
  document.documentElement.dataset.drawn = 'true';
}

start();

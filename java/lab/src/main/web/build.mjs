// SPDX-License-Identifier: Apache-2.0
// Makes report.html: page, style, script and licences in one file, without the data.
//
//   node build.mjs FOLDER   builds in FOLDER, unless it holds what these inputs gave before
//   node build.mjs          builds here; node_modules must be there
//
// The page goes to resources/ponder/lab/report/report.html, where the lab's jar takes it from.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const PAGE = 'resources/ponder/lab/report/report.html';
const INPUTS = ['package.json', 'package-lock.json', '.npmrc', 'build.mjs', 'src'];
const here = dirname(fileURLToPath(import.meta.url));

const hash = (algorithm, text, encoding) => createHash(algorithm).update(text).digest(encoding);

/** Returns one line that changes with any input. */
function fingerprint(names) {
  const files = names.flatMap((name) =>
    name === 'src'
      ? readdirSync(join(here, name))
          .sort()
          .map((file) => join(name, file))
      : name,
  );
  const lines = files.map(
    (file) => `${file} ${hash('sha256', readFileSync(join(here, file)), 'hex')}`,
  );
  return hash('sha256', [process.version, ...lines].join('\n'), 'hex');
}

const holds = (file, text) => existsSync(file) && readFileSync(file, 'utf8') === text;

function npm(folder, ...words) {
  const { status, error } = spawnSync('npm', words, { cwd: folder, stdio: 'inherit' });
  if (status !== 0) {
    throw new Error(
      `npm ${words.join(' ')} failed in ${folder}${error ? `: ${error.message}` : ''}`,
    );
  }
}

/** Builds in a folder of its own, so that nothing is left among the sources. */
function buildIn(folder) {
  const stamp = join(folder, 'build.stamp');
  const print = fingerprint(INPUTS);
  if (holds(stamp, print) && existsSync(join(folder, PAGE))) {
    return;
  }
  mkdirSync(folder, { recursive: true });
  rmSync(stamp, { force: true });
  rmSync(join(folder, 'src'), { recursive: true, force: true });
  for (const input of INPUTS) {
    cpSync(join(here, input), join(folder, input), { recursive: true });
  }
  const packages = join(folder, 'packages.stamp');
  const wanted = fingerprint(['package.json', 'package-lock.json', '.npmrc']);
  if (!holds(packages, wanted) || !existsSync(join(folder, 'node_modules'))) {
    npm(folder, 'ci', '--prefer-offline', '--loglevel=error');
    writeFileSync(packages, wanted);
  }
  npm(folder, 'run', '--silent', 'build');
  writeFileSync(stamp, print);
}

/** Builds here. */
async function build() {
  const { build: bundle } = await import('esbuild');
  const { outputFiles, metafile } = await bundle({
    absWorkingDir: here,
    entryPoints: { script: 'src/main.js', style: 'src/report.css' },
    outdir: 'out',
    bundle: true,
    minify: true,
    format: 'iife',
    target: ['chrome100', 'firefox100', 'safari15'],
    charset: 'utf8',
    legalComments: 'none',
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  const output = (kind) => outputFiles.find((file) => file.path.endsWith(kind)).text.trim();
  const script = output('.js');
  const style = output('.css');
  // Text that would end its element early, or be taken for a place to fill.
  for (const [text, end] of [
    [script, /<\/script|<!--|%data%/i],
    [style, /<\/style|<!--/i],
  ]) {
    if (end.test(text)) {
      throw new Error(`the bundle holds ${text.match(end)[0]}, which HTML would misread`);
    }
  }
  const parts = {
    style,
    script,
    'style-hash': `sha256-${hash('sha256', style, 'base64')}`,
    'script-hash': `sha256-${hash('sha256', script, 'base64')}`,
    licences: licences(Object.keys(metafile.inputs)),
  };
  const page = readFileSync(join(here, 'src/report.html'), 'utf8').replace(
    /%([a-z-]+)%/g,
    (place, name) => parts[name] ?? place,
  );
  mkdirSync(dirname(join(here, PAGE)), { recursive: true });
  writeFileSync(join(here, PAGE), page);
}

/** Returns the licence texts of the packages among the inputs of the bundle. */
function licences(inputs) {
  const named = inputs.map((input) => input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]);
  const packages = [...new Set(named.filter(Boolean))].sort();
  return packages
    .map((name) => {
      const folder = join(here, 'node_modules', name);
      const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
      if (!file) {
        throw new Error(`${name} ${version} has no licence text to travel with it`);
      }
      const text = readFileSync(join(folder, file), 'utf8').trim();
      return `<h3>${html(`${name} ${version} (${license})`)}</h3>\n<pre>${html(text)}</pre>`;
    })
    .join('\n');
}

const html = (text) =>
  text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);

const [folder] = process.argv.slice(2);
await (folder ? buildIn(resolve(folder)) : build());

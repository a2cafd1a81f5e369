// SPDX-License-Identifier: Apache-2.0
// Where the report comes from: enough to make it again.

import { list } from './data.js';
import { h } from './dom.js';
import { section } from './figure.js';

export function origin(data) {
  const { machine, data: about } = data;
  const fact = (term, value, code) =>
    value === null || value === undefined || value === ''
      ? null
      : h('div', {}, h('dt', {}, term), h('dd', {}, code ? h('code', {}, value) : String(value)));
  return section(
    'origin',
    'Where this comes from',
    h(
      'dl',
      { class: 'about wide' },
      fact('command', data.command, true),
      fact('seeds', list(data.seeds).join(', ')),
      fact('version', data.version),
      fact('commit', data.commit ?? 'not known', true),
      fact('split', data.split),
      fact('hash of the graph', about?.graphHash, true),
      fact('hash of the paths', about?.pathsHash, true),
      fact('platform', machine?.platform),
      fact('processor', machine?.processor),
      fact('threads', machine?.threads),
      fact('library', machine?.library),
      fact('Java', machine?.java),
    ),
  );
}

// What the account's styles look like: colours on a terminal that has not said NO_COLOR (https://no-color.org), else nothing.

import { styleText } from 'node:util';
import { type Paint, type Style, unpainted } from '../debug/canvas.ts';

const looks: Readonly<Record<Style, Parameters<typeof styleText>[0] | null>> = {
  plain: null,
  title: 'bold',
  dim: 'gray',
  guest: 'green',
  hardware: 'yellow',
  shared: 'magenta',
  hypervisor: 'cyan',
  good: ['bold', 'green'],
  bad: ['bold', 'red'],
};

/** Colours are for terminals. FORCE_COLOR asks for them anywhere, NO_COLOR (not empty) forbids them. */
export function paintFor(stream: { readonly isTTY?: boolean }, environment: NodeJS.ProcessEnv): Paint {
  const { NO_COLOR: no, FORCE_COLOR: force, TERM: term } = environment;
  const wanted = force !== undefined && force !== '' && force !== '0' ? true : stream.isTTY === true && term !== 'dumb';
  if (!wanted || (no !== undefined && no !== '')) return unpainted;
  return (style, text) => {
    const look = looks[style];
    return look === null ? text : styleText(look, text);
  };
}

// `--taint` and `--secret`: what a person declares private.

import { findSymbol } from '../debug/symbols.ts';
import type { Secret } from '../taint/taint.ts';
import { UserError } from '../util/errors.ts';
import type { RunOptions } from '../virtual-machine.ts';
import { parseAddress } from './options.ts';

/** Throws UserError. Null: nobody asked for labels. */
export function secretsOf(
  flags: { readonly taint?: boolean; readonly secret?: readonly string[]; readonly tier?: string },
  { technology, bare }: Pick<RunOptions, 'technology' | 'bare'>,
  image: Uint8Array,
): Secret[] | null {
  const { taint = false, secret = [] } = flags;
  if (!taint && secret.length > 0) throw new UserError(`--secret ${secret[0]}: only --taint follows secrets: give it, too`);
  if (!taint) return null;
  if (bare === true || technology !== 'sev-es')
    throw new UserError('--taint: only the state of an SEV-ES guest is hidden from its hypervisor: take --sev sev-es');
  return secret.map((text) => parseSecret(text, image));
}

function parseSecret(text: string, image: Uint8Array): Secret {
  if (text.trim() === '') throw new UserError('--secret: give a symbol, or an address and a length such as 0x200000:32');
  const [, address, length] = /^(0x[0-9a-f]+|\d+):(0x[0-9a-f]+|\d+)$/i.exec(text) ?? [];
  if (address !== undefined && length !== undefined) {
    const bytes = parseAddress('--secret', length);
    if (bytes === 0) throw new UserError(`--secret ${text}: give a length of at least 1`);
    return { gpa: parseAddress('--secret', address), length: bytes };
  }
  const symbol = findSymbol(image, text);
  if (symbol === null)
    throw new UserError(`--secret ${text}: the image has no such symbol: give an address and a length such as 0x200000:32`);
  if (symbol.size === 0n)
    throw new UserError(`--secret ${text}: the symbol has no size: give its address and a length such as 0x200000:32`);
  return { gpa: Number(symbol.start), length: Number(symbol.size) };
}

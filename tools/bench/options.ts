// What a person may ask of `npm run bench`.

import { parseArgs } from 'node:util';
import { UserError } from '../../src/cbit.ts';
import { type Tier, tiers } from './guest.ts';
import { type PeerName, peerNames } from './peers/peer.ts';

export type Options = {
  readonly quick: boolean;
  readonly json: boolean;
  readonly markdown: boolean;
  /** Status 1 if even the best repeat misses what the build must reach. */
  readonly check: boolean;
  /** Hosts of many guests even if there is little time. */
  readonly manyGuests: boolean;
  readonly peers: readonly PeerName[];
  /** Names of the workloads that are wanted. */
  readonly only: RegExp;
  /** null: as the engine is without being told. */
  readonly tier: Tier | null;
};

function choice<T extends string>(option: string, value: string, choices: readonly T[]): T {
  const chosen = choices.find((one) => one === value);
  if (chosen === undefined) throw new UserError(`--${option} ${value}: choose one of ${choices.join(', ')}`);
  return chosen;
}

function expression(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw new UserError(`--only ${text}: is no regular expression; give for example 'vc-' or '^(mix|sort)$'`);
  }
}

/** Throws UserError, one line. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parse(args);
  if (values.json && values.markdown) throw new UserError('--json and --markdown are two renderings of one report: give one of them');
  const peers = (values.peer ?? []).flatMap((names) => names.split(',')).map((name) => choice('peer', name, peerNames));
  return {
    quick: values.quick ?? false,
    json: values.json ?? false,
    markdown: values.markdown ?? false,
    check: values.check ?? false,
    manyGuests: values['many-guests'] ?? false,
    peers: peerNames.filter((name) => peers.includes(name)),
    only: expression(values.only ?? ''),
    tier: values.tier === undefined ? null : choice('tier', values.tier, tiers),
  };
}

function parse(args: readonly string[]) {
  const flag = { type: 'boolean' } as const;
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: flag,
        json: flag,
        markdown: flag,
        check: flag,
        'many-guests': flag,
        peer: { ...text, multiple: true },
        only: text,
        tier: text,
      },
    });
  } catch (error) {
    // Node's message names the mistake in its first sentence and gives advice for programmers behind it.
    throw new UserError((error instanceof Error ? error.message : String(error)).split(/\. |\n/, 1)[0] ?? '');
  }
}

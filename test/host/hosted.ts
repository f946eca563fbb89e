// What the tests of whole hosts share: guests with what they sent, their trace hash, and what became of them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { TraceHash } from '../../src/debug/trace-hash.ts';
import { Tracer } from '../../src/debug/tracer.ts';
import { Host, type HostedGuest, type HostedOptions, type HostOptions } from '../../src/host.ts';
import type { NamedBytes, RunResult } from '../../src/virtual-machine.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';

export const kernel = (name: string): NamedBytes => ({ name, bytes: new Uint8Array(readFileSync(join(root, elfPath(name)))) });
export const flat = (bytes: Uint8Array): NamedBytes => ({ name: 'flat', bytes });

export const openHost = (options: Partial<HostOptions> = {}): Host => new Host({ cpu: 'milan', seed: '0', aes: nodeAes, ...options });

/** A guest as the command line would make one; `sent` gets what it sends over COM1. */
export const guestOptions = (name: string, image: NamedBytes, given: Partial<HostedOptions> = {}, sent: number[] = []): HostedOptions => ({
  name,
  image,
  technology: 'sev-es',
  memory: 4 << 20,
  maxInstructions: null,
  intercepts: [],
  append: '',
  haltOk: true,
  rtc: Date.UTC(2026, 0, 1),
  serial: { transmit: (byte) => void sent.push(byte), next: () => undefined },
  ...given,
});

/** A guest and who watches it. */
export type Watched = { readonly guest: HostedGuest; readonly finish: () => Ending };
export type Ending = {
  readonly serial: string;
  readonly traceHash: string;
  readonly consumed: number;
  readonly time: number;
  readonly result: RunResult;
};

export function create(host: Host, name: string, image: NamedBytes, given: Partial<HostedOptions> = {}): Watched {
  const sent: number[] = [];
  const hash = new TraceHash();
  const tracer = new Tracer([hash]);
  const guest = host.create(guestOptions(name, image, { trace: tracer, ...given }, sent));
  tracer.clock = () => guest.retired;
  const finish = (): Ending => ({
    serial: new TextDecoder().decode(Uint8Array.from(sent)),
    traceHash: hash.finish(guest.dram),
    consumed: guest.consumed,
    time: guest.time,
    result: guest.result(),
  });
  return { guest, finish };
}

// guests/hello as a guest of a host.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostedOptions } from '../../src/host.ts';
import { elfPath, root } from '../guest-manifest.ts';

const MEMORY = 16 * 2 ** 20;
/** The image. */
export const helloImage = { name: 'hello', bytes: new Uint8Array(readFileSync(join(root, elfPath('hello')))) };

export const helloGuest = (name: string, sent: number[], given: Partial<HostedOptions> = {}): HostedOptions => ({
  name,
  image: helloImage,
  technology: 'sev-es',
  memory: MEMORY,
  maxInstructions: null,
  intercepts: [],
  append: '',
  haltOk: false,
  rtc: Date.UTC(2026, 0, 1),
  serial: { transmit: (byte) => void sent.push(byte), next: () => undefined },
  ...given,
});

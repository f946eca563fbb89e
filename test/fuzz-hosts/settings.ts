// Hosts with so few ASIDs that they soon go to other guests: with caches that are coherent and not, with and without the host's own encryption.

import type { HostOptions } from '../../src/host.ts';

export const settings: Readonly<Record<string, Partial<HostOptions>>> = {
  naples: { cpu: 'naples', esAsids: 3 },
  'naples, lines evicted by chance': { cpu: 'naples', esAsids: 12, evict: 'random' },
  milan: { cpu: 'milan', esAsids: 2 },
  'milan under SME': { cpu: 'milan', esAsids: 251, sme: true, hostCpus: 2 },
};

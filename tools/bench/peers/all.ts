// The peers by name.

import { findBochs } from './bochs.ts';
import type { Absent, Peer, PeerName } from './peer.ts';
import { findQemu } from './qemu.ts';
import { findV86 } from './v86.ts';

const finders: Readonly<Record<PeerName, () => Peer | Absent>> = { qemu: findQemu, bochs: findBochs, v86: findV86 };

export const findPeer = (name: PeerName): Peer | Absent => finders[name]();

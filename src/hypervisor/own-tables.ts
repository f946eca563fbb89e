// The hypervisor's own page tables, in its own pages: all memory one to one, four levels with leaves of 1 GiB (APM vol. 2, 5.3). With SME every
// entry has the C-bit, and so has CR3: all that the host owns and all guest RAM is encrypted, the tables too. Nothing encrypted can
// be written without a mapping that says so, hence first tables that are not, and are wiped afterwards (7.10.6).

import type { HostProcessor } from '../svm/host-processor.ts';
import { PAGE_SIZE, type Spa, spa } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { HostPages } from './host-pages.ts';

const Pte = { P: 1n << 0n, RW: 1n << 1n, A: 1n << 5n, D: 1n << 6n, PS: 1n << 7n } as const;
const TABLE = Pte.P | Pte.RW | Pte.A;
const LEAF = TABLE | Pte.D | Pte.PS;
const GIB = 2 ** 30;
const ENTRIES = 512;
/** The table of level 4 and one of level 3: 512 GiB. */
const PAGES = 2;

/** `cMask`: the C-bit if the host uses SME, else 0. Gives what CR3 holds afterwards. */
export function enterOwnTables(host: HostProcessor, pages: HostPages, cMask: bigint): bigint {
  if (cMask === 0n) return load(host, write(host, pages.take(PAGES), 0n, 0n), 0n);
  const first = pages.take(PAGES);
  load(host, write(host, first, 0n, cMask), 0n);
  const cr3 = load(host, write(host, pages.take(PAGES), cMask, cMask), cMask);
  host.wbinvd(); // nothing of the first ones may leave the caches later, over what is written now
  host.memory.write(first, new Uint8Array(PAGES * PAGE_SIZE));
  return cr3;
}

/** `tables` and `memory`: the C-bit for pointers to tables, and for what is mapped. */
function write(host: HostProcessor, at: Spa, tables: bigint, memory: bigint): Spa {
  const size = Math.ceil(host.memory.size / GIB);
  assert(size <= ENTRIES, 'one table of level 3 maps 512 GiB');
  const second = spa(at + PAGE_SIZE);
  host.memory.page(at).setU64(0, BigInt(second) | TABLE | tables);
  const port = host.memory.page(second);
  for (let n = 0; n < size; n++) port.setU64(8 * n, BigInt(n * GIB) | LEAF | memory);
  return at;
}

function load(host: HostProcessor, tables: Spa, cMask: bigint): bigint {
  const cr3 = BigInt(tables) | cMask;
  assert(host.loadCr3(cr3), 'CR3 is refused');
  return cr3;
}

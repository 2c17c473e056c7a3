// The ASN.1 part of node-forge alone, as far as der.ts uses it: the whole of node-forge costs each thread 30 ms to load.
declare module "node-forge/lib/asn1.js" {
  interface Asn1 {
    readonly tagClass: number;
    readonly type: number;
    readonly constructed: boolean;
    readonly value: string | Asn1[];
  }
  interface ByteBuffer {
    getBytes(): string;
  }
  interface DecodeOptions {
    readonly strict: boolean;
    readonly parseAllBytes: boolean;
    readonly decodeBitStrings: boolean;
    readonly maxDepth: number;
  }
  const asn1: {
    readonly Class: { readonly UNIVERSAL: number; readonly CONTEXT_SPECIFIC: number };
    readonly Type: Readonly<
      Record<
        | "BOOLEAN"
        | "INTEGER"
        | "BITSTRING"
        | "OCTETSTRING"
        | "NULL"
        | "OID"
        | "UTF8"
        | "SEQUENCE"
        | "SET"
        | "UTCTIME"
        | "GENERALIZEDTIME",
        number
      >
    >;
    create(tagClass: number, type: number, constructed: boolean, value: string | Asn1[]): Asn1;
    fromDer(octets: string, options: DecodeOptions): Asn1;
    toDer(tree: Asn1): ByteBuffer;
    oidToDer(dotted: string): ByteBuffer;
    derToOid(octets: string): string;
  };
  export type { Asn1 };
  export default asn1;
}

/**
 * The OpenSSL inside this program through koffi: the one place where its signatures stand. A wrong one ends the process, so the surface
 * is small and every function here is exercised by a test. What OpenSSL has as macros is one of its `_ctrl` functions with a constant.
 * Signatures and constants: OpenSSL 3.5, manual pages of section 3 and the public headers.
 *
 * Pointers are plain numbers: addresses in user space stay below 2^53 on x86-64 and arm64, and a number costs no allocation per call.
 * A Uint8Array is passed where OpenSSL reads or writes during the call and keeps nothing.
 */
import koffi from "koffi";

/** Where something of OpenSSL's is. 0 is none. */
export type Handle<Kind extends string> = number & { readonly handle?: Kind };

export type Ssl = Handle<"SSL">;
export type SslCtx = Handle<"SSL_CTX">;
export type Bio = Handle<"BIO">;
export type X509 = Handle<"X509">;
export type PKey = Handle<"EVP_PKEY">;
/** Of memory that we hold: {@link addressOf}. */
export type Address = Handle<"memory">;

export type Bindings = ReturnType<typeof bind>;

/** Throws where a symbol is missing, or nothing can be called in this program at all. */
export function bind() {
  // The program itself comes first in it, then the libraries it was linked to: where OpenSSL is not inside Node it is one of those.
  const library = koffi.load(null);

  function declare<F>(name: string, result: string, parameters: readonly string[]): F {
    return library.func(name, result, [...parameters]) as unknown as F;
  }

  return {
    versionText: declare<(kind: number) => string>("OpenSSL_version", "str", ["int"]),

    peekError: declare<() => number>("ERR_peek_error", "ulong", []),
    nextError: declare<() => number>("ERR_get_error", "ulong", []),
    clearErrors: declare<() => void>("ERR_clear_error", "void", []),
    errorReason: declare<(error: number) => string | null>("ERR_reason_error_string", "str", ["ulong"]),

    bioInMemory: declare<() => number>("BIO_s_mem", pointer, []),
    bioNew: declare<(method: number) => Bio>("BIO_new", pointer, [pointer]),
    bioOver: declare<(bytes: Uint8Array, length: number) => Bio>("BIO_new_mem_buf", pointer, ["void *", "int"]),
    bioPair: declare<(near: Address, nearOctets: number, far: Address, farOctets: number) => number>(
      "BIO_new_bio_pair",
      "int",
      [pointer, "size_t", pointer, "size_t"],
    ),
    bioUpRef: declare<(bio: Bio) => number>("BIO_up_ref", "int", [pointer]),
    bioFree: declare<(bio: Bio) => number>("BIO_free", "int", [pointer]),
    bioCtrl: declare<(bio: Bio, command: number, number: number, address: Address) => number>("BIO_ctrl", "long", [
      pointer,
      "int",
      "long",
      pointer,
    ]),
    bioRead: declare<(bio: Bio, into: Address, most: number) => number>("BIO_read", "int", [pointer, pointer, "int"]),

    pemCertificate: declare<(bio: Bio, into: number, ask: number, password: Uint8Array) => X509>(
      "PEM_read_bio_X509",
      pointer,
      [pointer, pointer, pointer, "void *"],
    ),
    /** With `ask` 0 and a password, which may be empty, nobody is asked for one. */
    pemKey: declare<(bio: Bio, into: number, ask: number, password: Uint8Array) => PKey>(
      "PEM_read_bio_PrivateKey",
      pointer,
      [pointer, pointer, pointer, "void *"],
    ),
    keyFree: declare<(key: PKey) => void>("EVP_PKEY_free", "void", [pointer]),
    certificateFree: declare<(certificate: X509) => void>("X509_free", "void", [pointer]),
    /** @param into where the address to write to stands, which is moved on; 0: says the length only. */
    certificateDer: declare<(certificate: X509, into: Address) => number>("i2d_X509", "int", [pointer, pointer]),
    storeAdd: declare<(store: number, certificate: X509) => number>("X509_STORE_add_cert", "int", [pointer, pointer]),
    stackSize: declare<(stack: number) => number>("OPENSSL_sk_num", "int", [pointer]),
    stackAt: declare<(stack: number, index: number) => X509>("OPENSSL_sk_value", pointer, [pointer, "int"]),

    method: declare<() => number>("TLS_method", pointer, []),
    ctxNew: declare<(method: number) => SslCtx>("SSL_CTX_new", pointer, [pointer]),
    ctxFree: declare<(ctx: SslCtx) => void>("SSL_CTX_free", "void", [pointer]),
    ctxCtrl: declare<(ctx: SslCtx, command: number, number: number, address: number) => number>(
      "SSL_CTX_ctrl",
      "long",
      [pointer, "int", "long", pointer],
    ),
    ctxCtrlText: declare<(ctx: SslCtx, command: number, number: number, text: string) => number>(
      "SSL_CTX_ctrl",
      "long",
      [pointer, "int", "long", "str"],
    ),
    ctxOptions: declare<(ctx: SslCtx, options: number) => number>("SSL_CTX_set_options", "uint64", [pointer, "uint64"]),
    ctxVerify: declare<(ctx: SslCtx, mode: number, callback: number) => void>("SSL_CTX_set_verify", "void", [
      pointer,
      "int",
      pointer,
    ]),
    ctxSuites: declare<(ctx: SslCtx, names: string) => number>("SSL_CTX_set_ciphersuites", "int", [pointer, "str"]),
    ctxOldSuites: declare<(ctx: SslCtx, names: string) => number>("SSL_CTX_set_cipher_list", "int", [pointer, "str"]),
    ctxTickets: declare<(ctx: SslCtx, count: number) => number>("SSL_CTX_set_num_tickets", "int", [pointer, "size_t"]),
    ctxStore: declare<(ctx: SslCtx) => number>("SSL_CTX_get_cert_store", pointer, [pointer]),
    ctxNameAuthority: declare<(ctx: SslCtx, certificate: X509) => number>("SSL_CTX_add_client_CA", "int", [
      pointer,
      pointer,
    ]),
    ctxCertificate: declare<(ctx: SslCtx, certificate: X509) => number>("SSL_CTX_use_certificate", "int", [
      pointer,
      pointer,
    ]),
    ctxKey: declare<(ctx: SslCtx, key: PKey) => number>("SSL_CTX_use_PrivateKey", "int", [pointer, pointer]),
    /** 0 where it succeeds, unlike all others. */
    ctxOffer: declare<(ctx: SslCtx, protocols: Uint8Array, length: number) => number>(
      "SSL_CTX_set_alpn_protos",
      "int",
      [pointer, "void *", "uint"],
    ),
    ctxChoose: declare<(ctx: SslCtx, callback: bigint, argument: number) => void>(
      "SSL_CTX_set_alpn_select_cb",
      "void",
      [pointer, "void *", pointer],
    ),
    ctxJudge: declare<(ctx: SslCtx, callback: bigint, argument: number) => void>(
      "SSL_CTX_set_cert_verify_callback",
      "void",
      [pointer, "void *", pointer],
    ),
    /** An X509_STORE_CTX is that of one verification: it lives as long as {@link registerJudge}'s function is called. */
    verifyChain: declare<(store: number) => number>("X509_verify_cert", "int", [pointer]),
    storeLeaf: declare<(store: number) => X509>("X509_STORE_CTX_get0_cert", pointer, [pointer]),
    storePresented: declare<(store: number) => number>("X509_STORE_CTX_get0_untrusted", pointer, [pointer]),
    storeChain: declare<(store: number) => number>("X509_STORE_CTX_get0_chain", pointer, [pointer]),
    storeFault: declare<(store: number, fault: number) => void>("X509_STORE_CTX_set_error", "void", [pointer, "int"]),
    notBefore: declare<(certificate: X509) => number>("X509_get0_notBefore", pointer, [pointer]),
    notAfter: declare<(certificate: X509) => number>("X509_get0_notAfter", pointer, [pointer]),
    /** Into a `struct tm` of UTC (time.h): nine ints, seconds first, and what glibc has behind them. */
    timeToTm: declare<(time: number, tm: Address) => number>("ASN1_TIME_to_tm", "int", [pointer, pointer]),
    chooseProtocol: declare<
      (
        chosen: number,
        length: number,
        ours: Address,
        oursLength: number,
        theirs: number,
        theirsLength: number,
      ) => number
    >("SSL_select_next_proto", "int", [pointer, pointer, pointer, "uint", pointer, "uint"]),

    sslNew: declare<(ctx: SslCtx) => Ssl>("SSL_new", pointer, [pointer]),
    sslFree: declare<(ssl: Ssl) => void>("SSL_free", "void", [pointer]),
    sslReadsFrom: declare<(ssl: Ssl, bio: Bio) => void>("SSL_set0_rbio", "void", [pointer, pointer]),
    sslWritesTo: declare<(ssl: Ssl, bio: Bio) => void>("SSL_set0_wbio", "void", [pointer, pointer]),
    sslAccepts: declare<(ssl: Ssl) => void>("SSL_set_accept_state", "void", [pointer]),
    sslConnects: declare<(ssl: Ssl) => void>("SSL_set_connect_state", "void", [pointer]),
    handshake: declare<(ssl: Ssl) => number>("SSL_do_handshake", "int", [pointer]),
    read: declare<(ssl: Ssl, into: Address, most: number, got: Address) => number>("SSL_read_ex", "int", [
      pointer,
      pointer,
      "size_t",
      pointer,
    ]),
    write: declare<(ssl: Ssl, bytes: Uint8Array, length: number, written: Address) => number>("SSL_write_ex", "int", [
      pointer,
      "void *",
      "size_t",
      pointer,
    ]),
    shutdown: declare<(ssl: Ssl) => number>("SSL_shutdown", "int", [pointer]),
    failure: declare<(ssl: Ssl, result: number) => number>("SSL_get_error", "int", [pointer, "int"]),
    verifyResult: declare<(ssl: Ssl) => number>("SSL_get_verify_result", "long", [pointer]),
    ownCertificate: declare<(ssl: Ssl) => X509>("SSL_get0_peer_certificate", pointer, [pointer]),
    sentCertificates: declare<(ssl: Ssl) => number>("SSL_get_peer_cert_chain", pointer, [pointer]),
    chosenProtocol: declare<(ssl: Ssl, at: Address, length: Address) => void>("SSL_get0_alpn_selected", "void", [
      pointer,
      pointer,
      pointer,
    ]),
    version: declare<(ssl: Ssl) => string>("SSL_get_version", "str", [pointer]),
    cipher: declare<(ssl: Ssl) => number>("SSL_get_current_cipher", pointer, [pointer]),
    cipherName: declare<(cipher: number) => string>("SSL_CIPHER_get_name", "str", [pointer]),
    groupName: declare<(ssl: Ssl) => string | null>("SSL_get0_group_name", "str", [pointer]),
    isReused: declare<(ssl: Ssl) => number>("SSL_session_reused", "int", [pointer]),
    freeBuffers: declare<(ssl: Ssl) => number>("SSL_free_buffers", "int", [pointer]),
    isServer: declare<(ssl: Ssl) => number>("SSL_is_server", "int", [pointer]),
    keyUpdate: declare<(ssl: Ssl, kind: number) => number>("SSL_key_update", "int", [pointer, "int"]),
  };
}

/** Where our memory is, for as long as the caller holds it. It must not lie within V8's heap, as that of very small views does. */
export function addressOf(memory: ArrayBufferLike): Address {
  return Number(koffi.address(new Uint8Array(memory)));
}

/** The same for a pointer inside a struct, and for any view: asked for, its memory is moved out of V8's heap and stays. */
export function wideAddressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}

/** Text that OpenSSL holds there, copied. */
export function textAt(address: number, octets: number): string {
  return koffi.decode.string(BigInt(address), octets);
}

/** For all of this thread's servers: the pointer of a function that OpenSSL calls when a client offers protocols. Never given back. */
export function registerChooser(
  choose: (ssl: Ssl, chosen: number, length: number, offered: number, octets: number, argument: number) => number,
): bigint {
  return koffi.register(
    choose,
    koffi.pointer(koffi.proto("int", [pointer, pointer, pointer, pointer, "uint", pointer])),
  );
}

/** For all of this thread's contexts: the pointer of a function that decides whether a peer's chain holds: 1. Never given back. */
export function registerJudge(judge: (store: number, argument: number) => number): bigint {
  return koffi.register(judge, koffi.pointer(koffi.proto("int", [pointer, pointer])));
}

const pointer = "uintptr_t";

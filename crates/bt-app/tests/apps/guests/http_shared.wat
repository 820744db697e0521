  ;; The response's body and its stream, once it has begun.
  (global $body (mut i32) (i32.const 0))
  (global $stream (mut i32) (i32.const 0))
  ;; Begins a response with this status; its body is written to $stream.
  (func $begin (param $out i32) (param $status i32)
    (local $response i32)
    (local.set $response (call $response (call $fields)))
    (drop (call $set-status (local.get $response) (local.get $status)))
    (call $response-body (local.get $response) (i32.const 64))
    (global.set $body (i32.load (i32.const 68)))
    (call $outparam-set (local.get $out) (i32.const 0) (local.get $response)
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $body-write (global.get $body) (i32.const 64))
    (global.set $stream (i32.load (i32.const 68))))
  ;; Writes bytes to the response, 4096 at a time.
  (func $send (param $at i32) (param $length i32)
    (local $piece i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $length)))
        (local.set $piece (select (local.get $length) (i32.const 4096) (i32.lt_u (local.get $length) (i32.const 4096))))
        (call $stream-write (global.get $stream) (local.get $at) (local.get $piece) (i32.const 64))
        (if (i32.load8_u (i32.const 64)) (then (unreachable)))
        (local.set $at (i32.add (local.get $at) (local.get $piece)))
        (local.set $length (i32.sub (local.get $length) (local.get $piece)))
        (br $more))))
  ;; Ends the response.
  (func $end
    (call $output-drop (global.get $stream))
    (call $body-finish (global.get $body) (i32.const 0) (i32.const 0) (i32.const 64)))
  ;; Opens the request's body as a stream.
  (func $input (param $request i32) (result i32)
    (call $request-consume (local.get $request) (i32.const 64))
    (call $incoming-stream (i32.load (i32.const 68)) (i32.const 64))
    (i32.load (i32.const 68)))

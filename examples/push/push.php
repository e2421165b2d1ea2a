<?php
// push.php tells the page of one user how far something is:
//
//     php push.php uid1 88
//
// It prints what the node answers, ok or fail, and ends with 0 for ok, with 1 for fail, and
// with 2 where it could not ask. The environment may name the push port of another node
// (ROOKERY_PUSH=host:port) and the secret that it wants (ROOKERY_PUSH_SECRET).

declare(strict_types=1);

const PATIENCE = 5; // seconds: to connect, and to wait for the answer

/** Publishes a message to the inbox of its uid. True when that user is online, on whichever node. */
function push(string $address, array $message): bool
{
    $line = json_encode($message, JSON_THROW_ON_ERROR) . "\n";
    $socket = @stream_socket_client("tcp://$address", $errno, $error, PATIENCE);
    if ($socket === false) {
        throw new RuntimeException("no connection to the push port $address: $error (does a node run with --push $address?)");
    }
    try {
        stream_set_timeout($socket, PATIENCE);
        if (@fwrite($socket, $line) !== strlen($line)) {
            throw new RuntimeException("the push port $address did not take the message");
        }
        $answer = @fgets($socket);
        if ($answer === false) {
            $late = stream_get_meta_data($socket)['timed_out'];
            throw new RuntimeException("the push port $address " . ($late ? 'did not answer within ' . PATIENCE . ' s' : 'hung up without an answer'));
        }
        return match (rtrim($answer)) {
            'ok' => true,
            'fail' => false,
            default => throw new RuntimeException("$address is no push port: it answered " . json_encode($answer, JSON_INVALID_UTF8_SUBSTITUTE)),
        };
    } finally {
        fclose($socket);
    }
}

$percent = filter_var($argv[2] ?? '', FILTER_VALIDATE_INT, ['options' => ['min_range' => 0, 'max_range' => 100]]);
if ($argc !== 3 || $percent === false) {
    fwrite(STDERR, "push.php: say to whom, and how many per cent: php push.php uid1 88\n");
    exit(2);
}
$message = ['uid' => $argv[1], 'percent' => "$percent%"];
$secret = getenv('ROOKERY_PUSH_SECRET');
if ($secret !== false && $secret !== '') {
    $message['secret'] = $secret; // the node takes it out before it publishes the rest
}
try {
    $reached = push(getenv('ROOKERY_PUSH') ?: '127.0.0.1:5678', $message);
} catch (RuntimeException | JsonException $e) {
    fwrite(STDERR, "push.php: {$e->getMessage()}\n");
    exit(2);
}
echo $reached ? "ok\n" : "fail\n";
exit($reached ? 0 : 1);

# Copyright 2026 the emmap authors. Licensed under the Apache License, Version 2.0.
#
# The other half of ask.erl, which says how to run the two and draws the memory: answers each question in capitals.
defmodule Answer do
  @size 4096
  @turn 0
  @length 8
  @messages 16
  @text 24

  def main([file]) do
    {:ok, memory} = :emmap.open(file, 0, @size, [:create, :read, :write, :shared, :fixed_size])
    answer(memory)
    :ok = :emmap.close(memory)
  end

  def main(_) do
    IO.puts(:stderr, "usage: elixir answer.exs FILE")
    System.halt(2)
  end

  defp answer(memory) do
    case :emmap.patomic_read(memory, @turn) do
      1 ->
        {:ok, question} = :emmap.pread(memory, @text, :emmap.patomic_read(memory, @length))
        text = String.upcase(question)
        :ok = :emmap.pwrite(memory, @text, text)
        :ok = :emmap.patomic_write(memory, @length, byte_size(text))
        _ = :emmap.patomic(memory, @messages, :add, 1)
        # From 1 to 2, and from nothing else: only the answerer moves it from there.
        :ok = :emmap.patomic_cas(memory, @turn, 1, 2)
        :ok = :emmap.notify(memory, @turn)
        answer(memory)

      3 ->
        IO.puts("answered")

      other ->
        {:ok, _} = :emmap.await(memory, @turn, other, :infinity)
        answer(memory)
    end
  end
end

Answer.main(System.argv())
